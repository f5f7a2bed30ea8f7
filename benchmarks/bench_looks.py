"""E9: what a year of equal candidates promotes for nothing, and what a true gain then waits for.

`bench_looks.py [YEARS] [SEED]` simulates years of 52 weekly candidates for a recogniser, in errors
by voice, and compares ways to set the level of each look. Prints JSON; shares have exact 95 %
binomial intervals. `promoted_by_chance` is the share of years in which any of 52 candidates equal
to the champion passes. For a true gain (points of WER): `first_look` and `any_look` are the power
of one better candidate that comes at the first or at a random look, `weeks_80` the week until which
80 % of centres have promoted, if each weekly candidate is better by that much. Swap tests are
computed by saddlepoint (Robinson 1982; Lugannani and Rice 1980); `swap_check` compares them with
drawn swaps.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import norm

from benchmarks.bench_gates import share
from evaluation.gates.looks import LookLevels, look_at

YEARS, SEED, WEEKS = 500, 0, 52
LIFE = 0.025  # level that the whole sequence has to keep
GAINS = (0.01, 0.02, 0.03, 0.05)
POWER_YEARS = 120  # years a gain


@dataclass(frozen=True)
class World:
    """How errors come about. Rates are shares of words."""

    voices: int = 49
    new_voices: int = 0  # a week
    uneven: float = 0.6  # SD of the logarithm of words by voice
    interaction: float = 0.04  # SD of a model's own error rate by voice
    shared: float = 0.5  # of the champion's errors that a candidate makes as well
    family: float = 0.0  # of a candidate's other errors that all candidates make
    words: float = 41.0  # a voice, on average; the demo has 41
    rate: float = 0.3  # word error rate of the champion

    def present(self) -> np.ndarray:
        """Voices in the test set by week, int [WEEKS]."""
        return self.voices + self.new_voices * np.arange(WEEKS)


def differences(world: World, years: int, gain: float, rng: np.random.Generator) -> np.ndarray:
    """Returns errors of the champion less those of each week's candidate, [years, WEEKS, voices].

    A voice that has not come yet has 0. The candidate's true error rate is lower by `gain`.
    """
    voices = int(world.present()[-1])
    scale = world.words * np.exp(-(world.uneven**2) / 2)
    size = np.maximum(3, scale * rng.lognormal(0, world.uneven, (years, voices))).astype(int)
    hard = np.clip(world.rate + rng.normal(0, 0.05, (years, voices)), 0.02, 0.9)
    champion = np.clip(hard + rng.normal(0, world.interaction, hard.shape), 0.01, 0.95)
    wrong, own = rng.binomial(size, champion), 1 - world.shared

    def drawn(effect: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Words that only the champion, and that only the candidate gets wrong."""
        rate = np.clip(hard + effect - gain / own, 0, 1)
        return rng.binomial(wrong, own * (1 - rate)), rng.binomial(size - wrong, own * rate)

    effect = rng.normal(0, world.interaction, hard.shape)  # what all candidates have in common
    common, weeks = drawn(effect), []
    for present in world.present():
        alone = rng.normal(0, world.interaction, hard.shape)
        week = drawn(world.family**0.5 * effect + (1 - world.family) ** 0.5 * alone)
        better, worse = (
            rng.binomial(of_all, world.family) + rng.binomial(of_one, 1 - world.family)
            for of_all, of_one in zip(common, week, strict=True)
        )
        weeks.append(np.where(np.arange(voices) < present, better - worse, 0))
    return np.stack(weeks, axis=1).astype(np.float32)


def swap_p(changes: np.ndarray) -> np.ndarray:
    """Returns the p-value of the swap test for each row of `changes` (whole numbers, by cluster)."""
    flat = changes.reshape(-1, changes.shape[-1]).astype(np.float64)
    squares = np.maximum((flat**2).sum(1), 1e-9)
    p = np.ones(len(flat))
    worth = np.flatnonzero(flat.sum(1) / np.sqrt(squares) > 1.2)  # others are far from any level
    for begin in range(0, len(worth), 2000):
        rows = worth[begin : begin + 2000]
        p[rows] = _saddlepoint(flat[rows], np.sqrt(squares[rows]))
    return p.reshape(changes.shape[:-1])


def _saddlepoint(changes: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """The share of sign swaps whose sum is as large, by Lugannani and Rice on a lattice of 2."""
    x = changes / scale[:, None]
    total, smallest = x.sum(1), 0.5 ** (x != 0).sum(1)
    theta = total.copy()
    for _ in range(40):
        tanh = np.tanh(theta[:, None] * x)
        curvature = np.maximum((x**2 * (1 - tanh**2)).sum(1), 1e-12)
        step = np.clip(((x * tanh).sum(1) - total) / curvature, -1.5, 1.5)
        theta = np.clip(theta - step, 1e-6, 60)
        if np.abs(step).max() < 1e-7:
            break
    size = np.abs(theta[:, None] * x)
    generator = (size + np.log1p(np.exp(-2 * size)) - np.log(2)).sum(1)
    tanh = np.tanh(theta[:, None] * x)
    curvature = np.maximum((x**2 * (1 - tanh**2)).sum(1), 1e-12)
    w = np.sqrt(np.maximum(2 * (theta * total - generator), 1e-12))
    v = -np.expm1(-theta * 2 / scale) * scale / 2 * np.sqrt(curvature)
    p = norm.sf(w) + norm.pdf(w) * (1 / v - 1 / w)
    return np.asarray(np.clip(np.where(theta >= 59, smallest, np.maximum(p, smallest)), 0, 1))


def betting_p(changes: np.ndarray) -> np.ndarray:
    """Returns 1 / e of a betting test: the mean over bets λ of ∏ exp(λ d) / cosh(λ d) over voices.

    An e-value where a voice's difference is symmetric (de la Peña 1999; Ramdas et al. 2023).
    """
    flat = changes.reshape(-1, changes.shape[-1]).astype(np.float64)
    p = np.ones(len(flat))
    worth = np.flatnonzero(flat.sum(1) / np.sqrt(np.maximum((flat**2).sum(1), 1e-9)) > 1.2)
    bets = 2.0 ** -np.arange(1, 9)
    for begin in range(0, len(worth), 2000):
        x = flat[worth[begin : begin + 2000]]
        logs = [(bet * x - np.logaddexp(bet * x, -bet * x) + np.log(2)).sum(1) for bet in bets]
        wealth = np.exp(np.minimum(np.stack(logs), 500)).mean(0)
        p[worth[begin : begin + 2000]] = np.minimum(1, 1 / wealth)
    return p.reshape(changes.shape[:-1])


def spent(levels: LookLevels, world: World, weeks: int = WEEKS) -> np.ndarray:
    """Returns the levels of weekly looks as the gate sets them, [weeks]."""
    spent_on: dict[str, float] = {}
    found = np.zeros(weeks)
    for week in range(weeks):
        voices = world.voices + world.new_voices * week
        units = [f"v{n}" for n in range(voices)]
        year = float(found[max(0, week - 51) : week].sum())
        look = look_at(units, spent=spent_on, spent_in_year=year, earlier=week, levels=levels)
        found[week] = look.level
        spent_on |= {unit: spent_on.get(unit, 0.0) + look.level for unit in units}
    return found


def schedules(world: World) -> dict[str, np.ndarray]:
    """Returns levels by week, [WEEKS], of each way to spend."""
    week = np.arange(1, WEEKS + 1)
    quadratic = LIFE * 6 / np.pi**2 / week**2
    time_share = np.concatenate(([0.0], norm.sf(norm.isf(LIFE / 2) / np.sqrt(week / WEEKS)) * 2))
    return {
        "each look at 2.5 %": np.full(WEEKS, LIFE),
        "evenly (1/52)": np.full(WEEKS, LIFE / WEEKS),
        "O'Brien-Fleming": np.diff(time_share),
        "1/k^2": quadratic,
        "1/13 of the rest": LIFE / 13 * (12 / 13) ** (week - 1),
        "1/52 of the rest": LIFE / 52 * (51 / 52) ** (week - 1),
        "gate (1/25 of the rest)": spent(LookLevels(), world),
    }


def fresh_confirmed(changes: np.ndarray, world: World, waits: int = 8) -> np.ndarray:
    """Returns passes, bool [years, WEEKS]: 2.5 % on all voices and 2 % on those of `waits` weeks.

    The second look is taken once on voices that came since the training began.
    """
    fresh = np.stack(
        [
            swap_p(np.where(_came(world, week, waits, changes.shape[2]), changes[:, week], 0))
            for week in range(WEEKS)
        ],
        axis=1,
    )
    return (swap_p(changes) <= LIFE) & (fresh <= 0.02)


def _came(world: World, week: int, waits: int, voices: int) -> np.ndarray:
    """The voices that came in the `waits` weeks before `week`, bool [voices]."""
    place = np.arange(voices)
    begin = world.present()[max(0, week - waits)]
    return np.asarray((place >= begin) & (place < world.present()[week]))


def compared(world: World, years: int, seed: int) -> dict[str, Any]:
    """Returns the figures of every way to spend in one world."""
    rng = np.random.default_rng([seed, world.voices, world.new_voices])
    null = differences(world, years, 0.0, rng)
    gains = {gain: differences(world, POWER_YEARS, gain, rng) for gain in GAINS}
    ways: dict[str, Callable[[np.ndarray], np.ndarray]] = {}
    p_of = {id(changes): swap_p(changes) for changes in (null, *gains.values())}

    def at(levels: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
        return lambda changes: np.asarray(p_of[id(changes)] <= levels)

    ways |= {name: at(levels) for name, levels in schedules(world).items()}
    ways["betting, evenly"] = lambda changes: np.asarray(betting_p(changes) <= LIFE / WEEKS)
    if world.new_voices:
        ways["2.5 %, then 2 % on the voices of 8 weeks"] = lambda changes: fresh_confirmed(
            changes, world
        )
    return {
        name: {
            "promoted_by_chance": share(int(passed(null).any(1).sum()), years),
            **{f"{gain:.0%}": power(passed(changes)) for gain, changes in gains.items()},
        }
        for name, passed in ways.items()
    }


def power(passed: np.ndarray) -> dict[str, Any]:
    """Returns the power of a true gain, from passes [years, WEEKS] (see the module)."""
    first = np.where(passed.any(1), passed.argmax(1) + 1, WEEKS + 1)
    weeks_80 = int(np.quantile(first, 0.8, method="inverted_cdf"))
    return {
        "first_look": round(float(passed[:, 0].mean()), 2),
        "any_look": round(float(passed.mean()), 2),
        "weeks_80": weeks_80 if weeks_80 <= WEEKS else None,
    }


def worlds() -> dict[str, World]:
    """Returns the worlds to compare in, by name."""
    return {
        "49 voices": World(),
        "120 voices": World(voices=120),
        "470 voices": World(voices=470),
        "49 voices, 2 more a week": World(new_voices=2),
        "120 voices, 10 more a week": World(voices=120, new_voices=10),
        "49 voices, candidates share 80 % of their errors": World(family=0.8),
        "49 voices, equal sizes, no interaction": World(uneven=0.0, interaction=0.0),
        "49 very uneven voices, interaction 8 points": World(uneven=1.2, interaction=0.08),
        "12 voices": World(voices=12),
    }


def swap_check(seed: int) -> list[dict[str, float]]:
    """Returns small p-values by saddlepoint beside those of 400,000 drawn swaps."""
    rng = np.random.default_rng(seed)
    rows = differences(World(), 20, 0.02, rng).reshape(-1, World().voices)
    p = swap_p(rows)
    swaps = rng.integers(0, 2, (400_000, rows.shape[1]), dtype=np.int8) * 2.0 - 1
    chosen = np.argsort(p)[:12:3]
    return [
        {
            "saddlepoint": float(p[n]),
            "drawn": float((swaps @ rows[n] >= rows[n].sum() - 1e-9).mean()),
        }
        for n in chosen
    ]


def main() -> None:
    """Prints the comparison in every world as JSON."""
    given = [int(argument) for argument in sys.argv[1:]]
    years, seed = [*given, *(YEARS, SEED)[len(given) :]][:2]
    began = time.process_time()
    tables = {}
    for name, world in worlds().items():
        tables[name] = compared(world, years, seed)
        print(f"{name}: {time.process_time() - began:.0f} CPU seconds", file=sys.stderr)
    result = {
        "benchmark": "E9 looks at a test set",
        "years": years,
        "weeks": WEEKS,
        "seed": seed,
        "levels": vars(LookLevels()),
        "worlds": tables,
        "swap_check": swap_check(seed),
        "cpu_s": round(time.process_time() - began, 1),
    }
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
