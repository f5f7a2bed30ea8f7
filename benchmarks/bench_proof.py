"""E10: whether the number of voices that a refusal names is the number that proof needs.

`bench_proof.py [PILOTS] [SEED]` draws test sets (see bench_looks), predicts from each how many
voices would prove a gain with power .8, and finds the needed number by simulation: larger test sets
drawn from its voices, each put through the swap test. Prints JSON. `within_a_quarter` is the share
of predictions within ±25 % of the needed number; `of_the_truth` is the same where the needed number
is that of the world the test set came from, so it includes the luck of the voices drawn.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import numpy as np

from benchmarks.bench_gates import share
from benchmarks.bench_looks import World, differences
from evaluation.metrics.power import POWER, clusters_needed

PILOTS, SEED = 50, 0
WORTH = 0.02  # gain to be proven, in WER
SIMULATIONS, SWAPS = 300, 10_000
LEVELS = (0.001, 0.0002)  # of a first look, and of one at a worn test set


def stated(changes: np.ndarray, gain: float, words: float = World().words) -> np.ndarray:
    """Returns `changes` [clusters] moved so that their gain is `gain` for each word."""
    values = changes.astype(np.float64)
    return np.asarray(values + gain * words - values.mean())


def power_at(pilot: np.ndarray, clusters: int, *, level: float, rng: np.random.Generator) -> float:
    """Returns the share of test sets of so many clusters, drawn from `pilot`, that prove the gain."""
    drawn = rng.choice(pilot, (SIMULATIONS, clusters)).astype(np.float32)
    signs = rng.integers(0, 2, (SWAPS, clusters), dtype=np.int8).astype(np.float32) * 2 - 1
    as_large = (signs @ drawn.T >= drawn.sum(1) - 1e-3).sum(0)
    return float(((1 + as_large) / (1 + SWAPS) <= level).mean())


def kept_within(
    pilot: np.ndarray,
    predicted: int,
    *,
    level: float,
    rng: np.random.Generator,
    within: float = 0.25,
) -> bool:
    """Returns whether the needed number lies within `within` of the predicted one.

    Power grows with the number, so that is where it is too low at the near end and enough at the
    far end.
    """
    near = power_at(pilot, max(2, round(predicted / (1 + within))), level=level, rng=rng)
    far = power_at(pilot, round(predicted / (1 - within)), level=level, rng=rng)
    return near < POWER <= far


def measured(voices: int, level: float, pilots: int, seed: int) -> dict[str, Any]:
    """Returns how many predictions from test sets of so many voices are right."""
    rng = np.random.default_rng([seed, voices])
    truth = stated(differences(World(voices=5000), 1, WORTH, rng)[0, 0], WORTH)
    right = true = 0
    predicted = []
    for pilot in differences(World(voices=voices), pilots, WORTH, rng)[:, 0]:
        changes = stated(pilot, WORTH)
        number = clusters_needed(changes, level=level)
        if number is None:
            continue
        predicted.append(number)
        right += kept_within(changes, number, level=level, rng=rng)
        true += kept_within(truth, number, level=level, rng=rng)
    return {
        "predicted_median": float(np.median(predicted)),
        "within_a_quarter": share(right, pilots),
        "of_the_truth": share(true, pilots),
    }


def main() -> None:
    """Prints the figures for small and larger test sets as JSON."""
    given = [int(argument) for argument in sys.argv[1:]]
    pilots, seed = [*given, *(PILOTS, SEED)[len(given) :]][:2]
    began = time.process_time()
    result = {
        "benchmark": "E10 voices that proof needs",
        "pilots": pilots,
        "gain": WORTH,
        "power": POWER,
        "figures": {
            f"{voices} voices, level {level:g}": measured(voices, level, pilots, seed)
            for voices in (49, 120)
            for level in LEVELS
        },
        "cpu_s": round(time.process_time() - began, 1),
    }
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
