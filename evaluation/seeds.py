"""Compares two settings over training seeds: is a gain more than chance of seed and of data?

One training with another seed gives another model. The gain of a setting is a mean over seeds, and
its interval has two parts: the spread between seeds, and that between the test units' clusters.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from evaluation.metrics.bootstrap import LEVEL
from evaluation.scorecard import Scorecard, ScorecardError, pair

MIN_SEEDS = 2


class SeedError(ValueError):
    """Two settings cannot be compared over seeds. The message says what is missing."""


@dataclass(frozen=True)
class Spread:
    """A metric of one setting over its seeds."""

    name: str
    mean: float
    sd: float | None  # between seeds; None with one seed
    seeds: int


@dataclass(frozen=True)
class SeedComparison:
    """How much better `other` is than `first` over seeds; positive is better.

    `seed_share` is the share of the gain's variance that comes from the seeds. More data help where
    it is small, more seeds where it is large.
    """

    metric: str
    first: Spread
    other: Spread
    seeds: Sequence[int]  # trained with both settings, and so paired
    gain: float
    low: float
    high: float
    p: float  # two-sided
    clusters: int
    seed_share: float

    @property
    def is_significant(self) -> bool:
        """Whether the interval lies on one side of 0."""
        return self.low > 0 or self.high < 0


def spread(name: str, cards: Mapping[int, Scorecard], metric: str) -> Spread:
    """Returns mean and standard deviation of a metric over the seeds of one setting."""
    values = np.array([card.metrics[metric].value for card in cards.values()])
    sd = float(values.std(ddof=1)) if len(values) > 1 else None
    return Spread(name, float(values.mean()), sd, len(values))


def compare_seeds(
    first: Mapping[int, Scorecard],
    other: Mapping[int, Scorecard],
    metric: str,
    *,
    names: tuple[str, str] = ("first", "other"),
    level: float = LEVEL,
) -> SeedComparison:
    """Compares the scorecards of two settings, seed → scorecard, on the same units.

    The variance of the mean gain is that between paired seeds over their number, plus that between
    clusters of the gain averaged over seeds, by the linearised ratio (Cochran 1977). The interval
    is Student's t with Satterthwaite's degrees of freedom. What seeds and clusters have in common
    is in both parts, so the interval is slightly wide. Raises SeedError with fewer than two common
    seeds or clusters.
    """
    seeds = sorted(set(first) & set(other))
    if len(seeds) < MIN_SEEDS:
        raise SeedError(
            f"{names[0]} and {names[1]} have {len(seeds)} seed in common, {MIN_SEEDS} are needed. "
            "Train both with the same seeds."
        )
    hashes = {card.data_hash for cards in (first, other) for card in cards.values()}
    if len(hashes) > 1:
        raise SeedError(f"{names[0]} and {names[1]} were scored on different data.")
    gains, influence, clusters = [], [], 0
    for seed in seeds:
        gain, by_cluster = _gain(other[seed], first[seed], metric)
        gains.append(gain)
        influence.append(by_cluster)
        clusters = len(by_cluster)
    if clusters < 2:
        raise SeedError(f"{clusters} cluster of test units: nothing can be told from one.")
    count = len(seeds)
    between = float(np.var(gains, ddof=1)) / count
    mean_influence = np.mean(influence, axis=0)
    within = clusters / (clusters - 1) * float((mean_influence**2).sum())
    value = float(np.mean(gains))
    error = math.sqrt(between + within)
    freedom = (between + within) ** 2 / max(
        between**2 / (count - 1) + within**2 / (clusters - 1), 1e-300
    )
    low, high, p = _student(value, error, freedom, level)
    return SeedComparison(
        metric,
        spread(names[0], first, metric),
        spread(names[1], other, metric),
        seeds,
        value,
        low,
        high,
        p,
        clusters,
        between / (between + within) if error else 0.0,
    )


def _gain(better: Scorecard, than: Scorecard, metric: str) -> tuple[float, np.ndarray]:
    """Returns the gain and its influence by cluster, in order of the clusters' names."""
    try:
        rows = pair(better, than, metric)
    except ScorecardError as error:
        raise SeedError(str(error)) from error
    sign = -1.0 if better.ratios[metric].lower_is_better else 1.0
    sums = (
        rows.group_by("cluster")
        .agg(pl.col("num_a", "den_a", "num_b", "den_b").sum())
        .sort("cluster")
    )
    parts = {name: sums[name].to_numpy() for name in ("num_a", "den_a", "num_b", "den_b")}
    ratios, influence = [], []
    for side in ("a", "b"):
        total = parts[f"den_{side}"].sum()
        ratio = parts[f"num_{side}"].sum() / total
        ratios.append(ratio)
        influence.append((parts[f"num_{side}"] - ratio * parts[f"den_{side}"]) / total)
    return sign * (ratios[0] - ratios[1]), sign * (influence[0] - influence[1])


def _student(
    value: float, error: float, freedom: float, level: float
) -> tuple[float, float, float]:
    """Returns both ends of the interval and the two-sided p-value."""
    from scipy.stats import t

    if error == 0:
        return value, value, 1.0 if value == 0 else 0.0
    reach = float(t.ppf(0.5 + level / 2, freedom)) * error
    return value - reach, value + reach, float(2 * t.sf(abs(value) / error, freedom))
