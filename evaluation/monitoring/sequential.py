"""Compares a figure that grows from night to night with another, at a level that looking keeps.

Both sides are ratios of sums over clusters. Their difference D at each look, times its information
V = 1 / Var(D), has independent increments as data are added (Jennison and Turnbull 1997), so it is
a Brownian motion with drift. A mixture over the drift (Robbins 1970; Howard, Ramdas, McAuliffe and
Sekhon 2021) makes an e-process of it: under the null hypothesis it ever reaches 1 / α with a
probability of at most α, however often one looks. Where the other side is a fixed figure with an
error of its own, the information never exceeds the inverse of that error's variance. Half of the
level then goes to the boundary of O'Brien and Fleming for that most information, which keeps more
power at the end (by the reflection principle; continuous looks). Both are asymptotic in the number
of clusters. The level is measured in benchmarks/bench_monitoring.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from scipy.stats import norm, t

# Mixtures of these multiples of a scale are averaged, for losses near the margin and far beyond it.
_SCALES = np.array([1.0, 5.0])


class State(StrEnum):
    """What is known of a champion. The values are stored in nightly.json and in the trends."""

    HOLDS = "holds"  # proven: no worse than the margin allows
    WORSE = "worse"  # proven: worse
    UNPROVEN = "unproven"  # neither
    NONE = "none"  # there is no champion


@dataclass(frozen=True)
class Figure:
    """A figure with its variance and the number of clusters behind it."""

    value: float
    variance: float
    clusters: int


@dataclass(frozen=True)
class Comparison:
    """How a figure compares with another. A positive difference is a loss.

    `low` and `high` enclose the true difference at every look with a probability of at least
    1 − 2 × level. `e_worse` is the evidence against "no worse", `e_holds` that against "worse by the
    margin": each is at least 1 / level where the claim is proven.
    """

    state: State
    difference: float | None
    low: float | None
    high: float | None
    e_worse: float
    e_holds: float
    clusters: int
    margin: float


def ratio_figure(numerator: np.ndarray, denominator: np.ndarray, cluster: np.ndarray) -> Figure:
    """Returns Σ numerator / Σ denominator over units, with its variance by clusters.

    All [units]. The variance is that of the linearised ratio, widened as Student's t asks for few
    clusters. It is infinite with fewer than two clusters or no weight.
    """
    names, member = np.unique(np.asarray(cluster, str), return_inverse=True)
    count = len(names)
    top = np.bincount(member, np.asarray(numerator, float), count)
    bottom = np.bincount(member, np.asarray(denominator, float), count)
    weight = bottom.sum()
    if not weight > 0:
        return Figure(float("nan"), float("inf"), count)
    value = float(top.sum() / weight)
    return Figure(value, _variance(top - value * bottom, weight), count)


def paired_figure(
    first: tuple[np.ndarray, np.ndarray], second: tuple[np.ndarray, np.ndarray], cluster: np.ndarray
) -> Figure:
    """Returns the ratio of `first` less that of `second` on the same units, with its variance."""
    names, member = np.unique(np.asarray(cluster, str), return_inverse=True)
    count = len(names)
    sums = [np.bincount(member, np.asarray(part, float), count) for part in (*first, *second)]
    if not (sums[1].sum() > 0 and sums[3].sum() > 0):
        return Figure(float("nan"), float("inf"), count)
    a, b = sums[0].sum() / sums[1].sum(), sums[2].sum() / sums[3].sum()
    apart = (sums[0] - a * sums[1]) / sums[1].sum() - (sums[2] - b * sums[3]) / sums[3].sum()
    return Figure(float(a - b), _variance(apart, 1.0), count)


def figure_of_interval(value: float, low: float | None, high: float | None) -> Figure:
    """Returns a figure known by its 95 % interval alone; its variance is infinite without one."""
    if low is None or high is None:
        return Figure(value, float("inf"), 0)
    return Figure(value, ((high - low) / 2 / float(norm.ppf(0.975))) ** 2, 0)


def _variance(residuals: np.ndarray, weight: float) -> float:
    """Returns the variance of a linearised figure; residuals are [clusters]."""
    count = len(residuals)
    if count < 2:
        return float("inf")
    wider = float(t.ppf(0.975, count - 1) / norm.ppf(0.975)) ** 2
    return float((residuals**2).sum() * count / (count - 1) / weight**2) * wider


def compare(
    now: Figure,
    then: Figure,
    *,
    margin: float,
    level: float,
    min_clusters: int,
    lower_is_better: bool = True,
) -> Comparison:
    """Returns whether `now` is worse than `then`, holds within `margin`, or neither is proven.

    `now` grows from night to night; `then` stays. Each of the two claims is wrong with a
    probability of at most `level` over all nights together. Of a loss that is proven and proven to
    lie below the margin, worse is said.
    """
    variance = now.variance + then.variance
    loss = (now.value - then.value) * (1 if lower_is_better else -1)
    if now.clusters < min_clusters or not np.isfinite(variance) or not np.isfinite(loss):
        shown = float(loss) if np.isfinite(loss) else None
        return Comparison(State.UNPROVEN, shown, None, None, 0.0, 0.0, now.clusters, margin)
    information, most = 1 / max(variance, 1e-18), _most_information(then)
    e_worse = float(evidence(loss, information, most, scale=margin, level=level))
    e_holds = float(evidence(margin - loss, information, most, scale=margin, level=level))
    state = State.UNPROVEN
    if e_worse >= 1 / level:
        state = State.WORSE
    elif e_holds >= 1 / level:
        state = State.HOLDS
    radius = confidence_radius(information, most, scale=margin, level=level)
    return Comparison(
        state, loss, loss - radius, loss + radius, e_worse, e_holds, now.clusters, margin
    )


def _most_information(then: Figure) -> float:
    """Returns the information that more data approach and never exceed; infinite without error."""
    return 1 / then.variance if then.variance > 0 else float("inf")


def evidence(
    difference: float | np.ndarray,
    information: float | np.ndarray,
    most: float | np.ndarray,
    *,
    scale: float | np.ndarray,
    level: float,
) -> np.ndarray:
    """Returns the evidence that the true difference is above 0; proven from 1 / `level` on.

    With a finite `most` information it is half the e-value, or 1 / level beyond the boundary of
    O'Brien and Fleming.
    """
    e = sum(e_value(difference, information, factor * scale) for factor in _SCALES) / len(_SCALES)
    bounded = np.isfinite(most)
    limit = norm.isf(level / 4) * np.sqrt(np.where(bounded, most, 0.0))
    beyond = bounded & (np.asarray(difference) * information >= limit)
    return np.where(beyond, np.maximum(e / 2, 1 / level), np.where(bounded, e / 2, e))


def e_value(
    difference: float | np.ndarray,
    information: float | np.ndarray,
    scale: float | np.ndarray,
) -> np.ndarray:
    """Returns the e-value of "the true difference is above 0".

    The mixture over its size is half normal with standard deviation `scale`.
    """
    spread = np.asarray(scale, float) ** 2 * np.asarray(information, float)
    z = np.asarray(difference, float) * np.sqrt(information) * np.sqrt(spread / (1 + spread))
    logarithm = np.log(2) - 0.5 * np.log1p(spread) + z**2 / 2 + norm.logcdf(z)
    return np.asarray(np.exp(np.minimum(logarithm, 700.0)))


def confidence_radius(information: float, most: float, *, scale: float, level: float) -> float:
    """Returns how far from the estimate the true difference is at most, at every look.

    On either side it is farther with a probability of at most `level`.
    """
    share = level / 2 if np.isfinite(most) else level
    spread = scale**2 * information
    mixture = np.sqrt((1 + spread) / spread * np.log((1 + spread) / share**2) / information)
    if not np.isfinite(most):
        return float(mixture)
    return float(min(mixture, norm.isf(level / 4) * np.sqrt(most) / information))


def overall(states: Sequence[State]) -> State:
    """Returns the state of several figures together: worse as soon as one is, holds when all do."""
    if State.WORSE in states:
        return State.WORSE
    if states and all(state is State.HOLDS for state in states):
        return State.HOLDS
    return State.UNPROVEN
