"""Confidence intervals and p-values by clustered resampling, of ratios of sums.

Word errors of one voice and losses of one customer are correlated, so whole clusters are drawn,
never single units (Bisani and Ney 2004 for word error rates; Cameron, Gelbach and Miller 2008 for
clusters). With few clusters the plain percentile interval is too narrow; its ends are moved
outwards as for a t distribution (Hesterberg 2015, "expanded percentile interval"). Coverage is
measured in tests/evaluation/metrics/test_bootstrap.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

DRAWS = 2000
LEVEL = 0.95
ENUMERATED = 13  # with fewer clusters a swap test counts every swap


@dataclass(frozen=True)
class Interval:
    """A figure with the ends of its two-sided interval.

    `low` and `high` are None when there are fewer than two clusters.
    """

    value: float
    low: float | None
    high: float | None
    units: int
    clusters: int


def ratio_of_sums(
    numerator: Sequence[float] | np.ndarray,
    denominator: Sequence[float] | np.ndarray,
    cluster: Sequence[str] | np.ndarray,
    *,
    seed: int,
    level: float = LEVEL,
    draws: int = DRAWS,
) -> Interval:
    """Returns sum(numerator) / sum(denominator) with its interval; one entry a unit in each array.

    Raises ValueError when the denominators sum to 0: then nothing was measured.
    """
    sums, clusters = _cluster_sums(cluster, numerator, denominator)
    return _interval(
        sums,
        clusters,
        len(numerator),
        figure=lambda s: s[..., 0] / s[..., 1],
        seed=seed,
        level=level,
        draws=draws,
    )


def means(
    parts: dict[str, np.ndarray],
    weight: Sequence[float] | np.ndarray,
    cluster: Sequence[str] | np.ndarray,
    *,
    seed: int,
    level: float = LEVEL,
    draws: int = DRAWS,
) -> dict[str, Interval]:
    """Returns weighted means of many columns over the same units, each with its interval.

    All are computed on the same draws: as `ratio_of_sums(part * weight, weight, …)` of each, for
    the price of one. Raises ValueError when the weights sum to 0.
    """
    columns = [np.asarray(part) * weight for part in parts.values()]
    sums, clusters = _cluster_sums(cluster, weight, *columns)
    if not clusters or sums[:, 0].sum() <= 0:
        raise ValueError(
            f"bootstrap: {len(columns[0])} units weigh nothing together, so there is no figure."
        )
    values = sums[:, 1:].sum(0) / sums[:, 0].sum()
    low = high = [None] * len(parts)
    if clusters > 1:
        rows = _drawn(
            sums, clusters, lambda s: s[..., 1:] / s[..., :1], seed=seed, draws=draws
        ).reshape(-1, len(parts))
        tail = _tail(clusters, level)
        low, high = np.quantile(rows, [tail, 1 - tail], axis=0).tolist()
    return {
        name: Interval(float(values[n]), low[n], high[n], len(columns[0]), clusters)
        for n, name in enumerate(parts)
    }


def paired_difference(
    first: tuple[Sequence[float] | np.ndarray, Sequence[float] | np.ndarray],
    second: tuple[Sequence[float] | np.ndarray, Sequence[float] | np.ndarray],
    cluster: Sequence[str] | np.ndarray,
    *,
    seed: int,
    level: float = LEVEL,
    draws: int = DRAWS,
) -> Interval:
    """Returns the ratio of `first` minus the ratio of `second`, with its paired interval.

    Each is (numerator, denominator) over the same units in the same order. Both are recomputed on
    the same draws, so what makes a unit hard for both cancels out.
    """
    sums, clusters = _cluster_sums(cluster, *first, *second)
    return _interval(
        sums, clusters, len(first[0]), figure=_difference, seed=seed, level=level, draws=draws
    )


def paired_p(
    first: tuple[Sequence[float] | np.ndarray, Sequence[float] | np.ndarray],
    second: tuple[Sequence[float] | np.ndarray, Sequence[float] | np.ndarray],
    cluster: Sequence[str] | np.ndarray,
    *,
    seed: int,
    at_least: float = 0.0,
    draws: int = DRAWS,
) -> float | None:
    """Returns the one-sided p-value of "the ratios' difference, first less second, is `at_least`".

    Small when the difference is significantly below that, of ratios of (numerator, denominator) as
    in `paired_difference`. The distance is measured in standard errors of the clustered bootstrap
    and compared with Student's t with one degree of freedom less than clusters. A share of draws
    would not do: it cannot be smaller than one draw, and corrections for multiple tests ask for
    less. None with fewer than two clusters.
    """
    sums, clusters = _cluster_sums(cluster, *first, *second)
    _refuse_weightless(sums, clusters, len(first[0]))
    if clusters < 2:
        return None

    distance = float(_difference(sums.sum(0))) - at_least
    error = (
        float(_drawn(sums, clusters, _difference, seed=seed, draws=draws).std())
        * (clusters / (clusters - 1)) ** 0.5
    )
    if error == 0:  # every cluster says the same
        return 1.0 if distance >= 0 else 0.0
    return _student_tail(-distance / error, clusters - 1)


def swapped_p(
    first: tuple[Sequence[float] | np.ndarray, Sequence[float] | np.ndarray],
    second: tuple[Sequence[float] | np.ndarray, Sequence[float] | np.ndarray],
    cluster: Sequence[str] | np.ndarray,
    *,
    seed: int,
    at_least: float = 0.0,
    draws: int = DRAWS,
) -> float:
    """Returns the one-sided p-value of "`first` less `at_least` and `second` are exchangeable".

    Small when the ratio of `first` is significantly above. Both have the same denominators. Whole
    clusters swap sides at random; the p-value is how often the difference of the ratios is then as
    large as observed. Unlike an interval it keeps its level with any number of clusters (Fisher's
    randomisation test; Good, 2005). Below ENUMERATED clusters every swap is counted. With more,
    swaps are drawn near the observed difference and weighted back (exponential tilting; Siegmund
    1976), so small p-values need no more draws; two standard errors of the drawing are added.
    Raises ValueError where a unit's two denominators differ.
    """
    sums, clusters = _cluster_sums(cluster, *first, *second)
    _refuse_weightless(sums, clusters, len(first[0]))
    if not np.allclose(sums[:, 1], sums[:, 3], rtol=1e-9, atol=0):
        raise ValueError("bootstrap: a swap needs the same denominator on both sides of a unit.")
    changes = sums[:, 0] - at_least * sums[:, 1] - sums[:, 2]
    scale = float(np.sqrt((changes**2).sum()))
    if scale == 0:
        return 1.0
    changes = changes / scale
    observed = float(changes.sum()) - 1e-9
    if clusters < ENUMERATED:
        swaps = (np.arange(2**clusters)[:, None] >> np.arange(clusters)) & 1
        return float(((1 - 2 * swaps) @ changes >= observed).mean())
    return _tilted_p(changes, observed, seed=seed, draws=draws)


def _tilted_p(changes: np.ndarray, observed: float, *, seed: int, draws: int) -> float:
    """Returns the share of random signs of `changes` whose sum is at least `observed`, from above.

    Signs are drawn with a probability of being positive such that the expected sum is `observed`.
    """
    tilt = _tilt(changes, observed) if observed > 0 else 0.0
    keep = 1 / (1 + np.exp(-2 * tilt * changes))
    size = np.abs(tilt * changes)
    log_mean = float((size + np.log1p(np.exp(-2 * size)) - math.log(2)).sum())
    rng = np.random.default_rng(seed)
    hits = []
    for count in in_batches(draws, len(changes)):
        signs = np.where(rng.random((count, len(changes))) < keep, 1.0, -1.0)
        total = signs @ changes
        hits.append(np.where(total >= observed, np.exp(log_mean - tilt * total), 0.0))
    weights = np.concatenate(hits)
    bound = float(weights.mean()) + 2 * float(weights.std()) / draws**0.5
    least: float = math.ldexp(1.0, -int((changes != 0).sum()))
    return float(min(1.0, max(bound, least)))


def _tilt(changes: np.ndarray, observed: float) -> float:
    """Returns the t at which Σ d tanh(t d) is `observed` (> 0), by bisection; at most 60."""
    low, high = 0.0, 60.0
    for _ in range(60):
        middle = (low + high) / 2
        if float((changes * np.tanh(middle * changes)).sum()) < observed:
            low = middle
        else:
            high = middle
    return high


def _difference(sums: np.ndarray) -> np.ndarray:
    """Returns the first ratio less the second, of sums [..., 4] (numerator, denominator of each)."""
    return np.asarray(sums[..., 0] / sums[..., 1] - sums[..., 2] / sums[..., 3])


def holm(p_values: Sequence[float]) -> list[float]:
    """Returns p-values adjusted for multiple tests (Holm, 1979), in the given order.

    Rejecting those at or below α errs anywhere among them with a probability of at most α, however
    the tests are correlated.
    """
    adjusted = [1.0] * len(p_values)
    worst = 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=lambda place: p_values[place])):
        worst = max(worst, min(1.0, (len(p_values) - rank) * p_values[place]))
        adjusted[place] = worst
    return adjusted


def _cluster_sums(
    cluster: Sequence[str] | np.ndarray, *columns: Sequence[float] | np.ndarray
) -> tuple[np.ndarray, int]:
    """Returns the sums of each column by cluster, float64 [clusters, columns], and their number."""
    names, member = np.unique(np.asarray(cluster, dtype=str), return_inverse=True)
    arrays = [np.asarray(column, dtype=np.float64) for column in columns]
    if any(len(array) != len(member) for array in arrays):
        raise ValueError(
            f"bootstrap: columns of {', '.join(str(len(array)) for array in arrays)} units, "
            f"{len(member)} clusters."
        )
    if not all(np.isfinite(array).all() for array in arrays):
        raise ValueError("bootstrap: a unit has no finite value. Leave out what was not measured.")
    return np.stack([np.bincount(member, array, len(names)) for array in arrays], axis=1), len(
        names
    )


def _interval(
    sums: np.ndarray,
    clusters: int,
    units: int,
    *,
    figure: Callable[[np.ndarray], np.ndarray],
    seed: int,
    level: float,
    draws: int,
) -> Interval:
    _refuse_weightless(sums, clusters, units)
    value = float(figure(sums.sum(0)))
    if clusters < 2:
        return Interval(value, None, None, units, clusters)
    figures = _drawn(sums, clusters, figure, seed=seed, draws=draws)
    tail = _tail(clusters, level)
    low, high = np.quantile(figures, [tail, 1 - tail])
    return Interval(value, float(low), float(high), units, clusters)


def _refuse_weightless(sums: np.ndarray, clusters: int, units: int) -> None:
    if not clusters or (sums[:, 1::2].sum(0) <= 0).any():
        raise ValueError(f"bootstrap: {units} units weigh nothing together, so there is no figure.")


def _drawn(
    sums: np.ndarray,
    clusters: int,
    figure: Callable[[np.ndarray], np.ndarray],
    *,
    seed: int,
    draws: int,
) -> np.ndarray:
    """Returns the figure on each draw of whole clusters; draws without weight are left out."""
    rng = np.random.default_rng(seed)
    drawn = []
    with np.errstate(divide="ignore", invalid="ignore"):
        for count in in_batches(draws, clusters):
            counts = rng.multinomial(clusters, np.full(clusters, 1 / clusters), count)
            drawn.append(figure(counts @ sums))
    figures = np.concatenate(drawn)
    return np.asarray(figures[np.isfinite(figures)])


def in_batches(draws: int, width: int) -> Iterator[int]:
    """Yields numbers of draws that add up to `draws`.

    Each is small enough for memory, whatever the `width` (entries) of a draw.
    """
    step = max(1, 2_000_000 // width)
    for begin in range(0, draws, step):
        yield min(step, draws - begin)


def _tail(clusters: int, level: float) -> float:
    """Returns the share of draws to cut off at each end of the interval.

    That of a normal distribution at sqrt(n / (n - 1)) times Student's t for n - 1 degrees of
    freedom.
    """
    normal, freedom = NormalDist(), clusters - 1
    z = normal.inv_cdf((1 + level) / 2)
    student = (  # Abramowitz and Stegun 26.7.5
        z
        + (z**3 + z) / (4 * freedom)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * freedom**3)
    )
    return normal.cdf(-student * (clusters / freedom) ** 0.5)


def _student_tail(t: float, freedom: int) -> float:
    """Returns P(T > t) of Student's t with a whole number of degrees of freedom.

    Abramowitz and Stegun 26.7.3 and 26.7.4.
    """
    if freedom > 200:
        return 1 - NormalDist().cdf(t)
    angle = math.atan2(t, freedom**0.5)
    cosine, odd = math.cos(angle), freedom % 2
    term = total = cosine if odd else 1.0
    for k in range(2 + odd, freedom - 1, 2):
        term *= cosine**2 * (k - 1) / k
        total += term
    if freedom == 1:
        total = 0.0
    within = 2 / math.pi * (angle + math.sin(angle) * total) if odd else math.sin(angle) * total
    return min(1.0, max(0.0, (1 - within) / 2))
