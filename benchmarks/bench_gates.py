"""E2: how often the gate takes a candidate that is no better for better.

`bench_gates.py [NULLS] [FIRST_SEED]` runs the checks as they ship, on scorecards computed as they
ship, with the shipped number of bootstrap draws. Prints JSON; shares have exact 95 % binomial
intervals (Clopper and Pearson, 1934). Progress goes to stderr.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from evaluation.gates import examples
from evaluation.gates.checks import better, slices
from evaluation.metrics.bootstrap import DRAWS
from evaluation.scorecard import Scorecard

NULLS, FIRST_SEED = 1000, 1000
# The two checks measured here use no secondary test, so none is made.
WITHOUT_SECONDARY: dict[str, Any] = {
    "guardrail": None,
    "reading": None,
    "churn_on_text": None,
    "reader_on_text": None,
}
KINDS: dict[str, Callable[[int], Scorecard]] = {
    "asr": lambda seed: examples.asr(0.3, seed=seed),
    "churn": lambda seed: examples.churn(0.5, seed=seed),
}


def binomial_interval(hits: int, trials: int, level: float = 0.95) -> tuple[float, float]:
    """Returns the exact two-sided interval of a share (Clopper and Pearson)."""
    from scipy.stats import beta

    tail = (1 - level) / 2
    low = float(beta.ppf(tail, hits, trials - hits + 1)) if hits else 0.0
    high = float(beta.ppf(1 - tail, hits + 1, trials - hits)) if hits < trials else 1.0
    return low, high


def share(hits: int, trials: int) -> dict[str, Any]:
    """Returns hits, their share of the trials and its interval."""
    low, high = binomial_interval(hits, trials)
    return {"hits": hits, "share": hits / trials, "low": round(low, 4), "high": round(high, 4)}


def false_alarms(kind: str, nulls: int, first_seed: int) -> dict[str, Any]:
    """Puts `nulls` pairs of equally good models of `kind` through the checks `better` and `slices`.

    Each pair has its own noise on both sides and its own bootstrap seed: one lucky champion, or one
    lucky set of draws for all, would make the comparisons dependent.
    """
    taken_for_better = refused_for_a_slice = 0
    params = examples.evidence(KINDS[kind](first_seed)).params
    for n in range(nulls):
        candidate, champion = (KINDS[kind](first_seed + 2 * n + side) for side in (0, 1))
        evidence = replace(examples.evidence(candidate, champion, **WITHOUT_SECONDARY), seed=n)
        taken_for_better += better.check(evidence).verdict == "pass"
        refused_for_a_slice += slices.check(evidence).verdict == "fail"
        print(
            f"\r{kind}: {n + 1} of {nulls} null candidates, {taken_for_better} taken for better",
            end="",
            file=sys.stderr,
            flush=True,
        )
    print(file=sys.stderr)
    return {
        "taken_for_better": share(taken_for_better, nulls),
        "stated_at_most": round(1 - params.level, 4),
        # One side of the interval: what the randomisation test allows a single look.
        "expected": params.look_levels.life,
        "refused_for_a_slice": share(refused_for_a_slice, nulls),
        "slices_stated_at_most": params.slice_alpha,
    }


def main() -> None:
    """Prints the false alarms of both kinds as JSON."""
    given = [int(argument) for argument in sys.argv[1:]]
    nulls, first_seed = [*given, *(NULLS, FIRST_SEED)[len(given) :]][:2]
    began = time.process_time()
    alarms = {kind: false_alarms(kind, nulls, first_seed) for kind in KINDS}
    result = {
        "benchmark": "E2 false alarms",
        "null_candidates": nulls,
        "first_seed": first_seed,
        "draws": DRAWS,
        **alarms,
        "cpu_s": round(time.process_time() - began, 1),
    }
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
