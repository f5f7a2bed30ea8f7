"""Tests whether last nights' contacts differ from a reference period, at a stated rate of alarms.

The unit is the night: contacts of one night share causes (an outage, a campaign), so the spread
between the days of the reference is part of every test, and weekdays, Saturdays and Sundays have
levels of their own where the reference tells them. A p-value is that of a prediction: how likely a
night like those of the reference is so far off. Each holds on its own each night, so the expected
number of false alarms adds up over metrics, windows and nights, however they depend on each other.

Numbers are turned into normal scores of the reference (van der Waerden) and compared by a t-test
with variances within and between days. Shares are compared by the beta-binomial distribution.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import betabinom, chi2, norm, t

DAY_TYPES = 3  # weekdays, Saturdays, Sundays
_MIN_DAYS_OF_TYPE = 4  # fewer do not tell a level of their own
_LEAST_BETWEEN = 0.02  # variance between days at least, as a share of that within
_LEAST_OVERDISPERSION = 0.01
_MOST_OVERDISPERSION = 0.9
_MOST_AUTOCORRELATION = 0.8


def day_type(weekday: np.ndarray) -> np.ndarray:
    """Returns 0 for Monday to Friday, 1 for Saturday, 2 for Sunday; `weekday` counts from 0."""
    return np.asarray(np.maximum(np.asarray(weekday, int) - 4, 0))


def normal_scores(values: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Returns the normal quantiles of `values` among `reference` (finite, any order).

    Of ties the middle rank counts. Values beyond the reference get the score of its ends.
    """
    ordered = np.sort(np.asarray(reference, float))
    count = len(ordered)
    below = np.searchsorted(ordered, values, side="left")
    upto = np.searchsorted(ordered, values, side="right")
    rank = (below + upto) / 2
    return np.asarray(norm.ppf(np.clip((rank + 0.5) / (count + 1), 0.5 / count, 1 - 0.5 / count)))


@dataclass(frozen=True)
class NumberFit:
    """The level of a numeric metric in the reference, in normal scores, by type of day."""

    level: np.ndarray  # [day types]
    level_variance: np.ndarray  # of those levels, [day types]
    within: float  # variance of one contact within a day
    between: float  # variance between days
    between_error: float  # standard error of the squared spread, see `number_p`
    within_freedom: float
    days_freedom: float
    autocorrelation: float


def fit_numbers(scores: np.ndarray, day: np.ndarray, types: np.ndarray) -> NumberFit:
    """Fits the reference: normal `scores` and `day` number [contacts], `types` [days].

    Every day of `types` has at least one contact.
    """
    days = len(types)
    n = np.bincount(day, minlength=days).astype(float)
    mean = np.bincount(day, scores, days) / n
    kind = _known_types(types)
    groups = np.unique(kind)
    total = np.bincount(kind, n, DAY_TYPES)
    freedom = max(float(days - len(groups)), 1.0)
    within_freedom = len(scores) - days
    floor = 9.0 / (len(scores) + 1)  # an unseen value may be one in so many contacts
    pooled = np.array(
        [mean[kind == g] @ n[kind == g] / total[g] if total[g] else 0.0 for g in range(DAY_TYPES)]
    )
    spread = float(n @ (mean - pooled[kind]) ** 2)
    if within_freedom >= 10:
        within = max(float(((scores - mean[day]) ** 2).sum()) / within_freedom, floor)
    else:  # about one contact a day: all spread may lie within days
        within, within_freedom = max(spread / freedom, floor), int(freedom)
    lost = sum(float((n[kind == g] ** 2).sum() / total[g]) for g in groups)
    scale = max(float(n.sum()) - lost, 1e-9)
    between = max((spread - freedom * within) / scale, _LEAST_BETWEEN * within)
    weight = 1 / (between + within / n)
    summed = np.bincount(kind, weight, DAY_TYPES)
    level = np.array(
        [
            (weight[kind == g] @ mean[kind == g]) / summed[g] if summed[g] else 0.0
            for g in range(DAY_TYPES)
        ]
    )
    uncertain = np.array([1 / summed[g] if summed[g] else 0.0 for g in range(DAY_TYPES)])
    for g in range(DAY_TYPES):  # a type without a level of its own has that of the weekdays
        if not summed[g]:
            level[g], uncertain[g] = level[kind[0]], uncertain[kind[0]]
    residuals = (mean - level[kind]) * np.sqrt(weight)
    return NumberFit(
        level,
        uncertain,
        within,
        between,
        between + within * days / float(n.sum()),
        max(float(within_freedom), 1.0),
        freedom,
        _autocorrelation(residuals),
    )


def _known_types(types: np.ndarray) -> np.ndarray:
    """Returns types of days with those too rare merged into the commonest."""
    counts = np.bincount(types, minlength=DAY_TYPES)
    common = int(counts.argmax())
    return np.asarray(np.where(counts[types] >= _MIN_DAYS_OF_TYPE, types, common))


def _autocorrelation(residuals: np.ndarray) -> float:
    """Returns the correlation of one day with the next, moved up by one standard error."""
    if len(residuals) < 3 or not residuals.std() > 0:
        return 0.0
    centred = residuals - residuals.mean()
    correlation = float((centred[1:] @ centred[:-1]) / (centred @ centred))
    return float(np.clip(correlation + 1 / np.sqrt(len(residuals)), 0.0, _MOST_AUTOCORRELATION))


def number_p(
    fit: NumberFit, means: np.ndarray, counts: np.ndarray, types: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Returns (two-sided p-value, shift in normal scores) of windows of nights, [...].

    `means`, `counts` and `types` are [..., nights] of a window; a night without contacts has count
    0. A window without contacts has p-value 1.
    """
    counts = np.asarray(counts, float)
    there = counts > 0
    variance = fit.between + fit.within / np.where(there, counts, 1.0)
    weight = np.where(there, 1 / variance, 0.0)
    total = weight.sum(-1)
    some = total > 0
    total = np.where(some, total, 1.0)
    shift = (weight * (np.where(there, means, 0.0) - fit.level[types])).sum(-1) / total
    nights = there.sum(-1)
    inflation = np.where(nights > 1, (1 + fit.autocorrelation) / (1 - fit.autocorrelation), 1.0)
    share = (weight * fit.level_variance[types]).sum(-1) / total
    noise = inflation / total
    spread = np.sqrt(noise + share)
    inside = 1 / np.where(
        some,
        (
            weight / np.where(there, fit.within / np.where(there, counts, 1.0), np.inf) * variance
        ).sum(-1),
        1.0,
    )
    freedom = noise**2 / (
        (inflation * fit.between_error / np.maximum(nights, 1)) ** 2 / fit.days_freedom
        + inside**2 / fit.within_freedom
    )
    p = 2 * t.sf(np.abs(shift) / spread, np.clip(freedom, 3.0, 1e6))
    return np.where(some, p, 1.0), np.where(some, shift, 0.0)


@dataclass(frozen=True)
class ShareFit:
    """The shares of the categories of a metric in the reference, and how much they vary by day."""

    shares: np.ndarray  # [categories]
    overdispersion: np.ndarray  # between days, as a share of the most there could be, [categories]
    units: np.ndarray  # what the reference's contacts are worth as independent ones, [categories]
    autocorrelation: float


def fit_shares(hits: np.ndarray, counts: np.ndarray) -> ShareFit:
    """Fits the reference: contacts by category [days, categories] and all contacts [days].

    Of the overdispersion the upper end of an 80 % interval counts, and that of all categories
    together where it is larger: a rare category tells little of its own.
    """
    counts, days = np.asarray(counts, float), len(counts)
    total = counts.sum()
    plain = hits.sum(0) / total
    shares = (hits.sum(0) + 0.5) / (total + 1)
    apart = hits / counts[:, None] - plain
    spread = (counts[:, None] * apart**2).sum(0)
    lost = float((counts**2).sum() / total)
    room = (total - lost) - (days - 1)
    wider = (days - 1) / float(chi2.ppf(0.1, days - 1))

    def overdispersion(spread: np.ndarray, most: np.ndarray) -> np.ndarray:
        raw = (spread / most * wider - (days - 1)) / room if room > 0 else np.zeros_like(spread)
        return np.asarray(np.clip(raw, _LEAST_OVERDISPERSION, _MOST_OVERDISPERSION))

    most = shares * (1 - shares)
    own = overdispersion(spread, most)
    together = overdispersion(spread.sum(keepdims=True), most.sum(keepdims=True))
    rho = np.maximum(own, together)
    scaled = apart * np.sqrt(counts)[:, None] / np.sqrt(most)
    autocorrelation = 0.0
    if days > 2 and (scaled**2).sum() > 0:
        raw = float((scaled[1:] * scaled[:-1]).sum() / (scaled**2).sum())
        autocorrelation = float(np.clip(raw + 1 / np.sqrt(days), 0.0, _MOST_AUTOCORRELATION))
    lasting = (1 + autocorrelation) / (1 - autocorrelation)
    units = total / (1 + (lost * lasting - 1) * rho)
    return ShareFit(shares, rho, np.maximum(units, 1.0), autocorrelation)


def share_p(
    fit: ShareFit, category: int, hits: np.ndarray, counts: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Returns (two-sided p-value, share) of a category in windows of nights, [...].

    `hits` and `counts` are [..., nights]. A window without contacts has p-value 1.
    """
    hits, counts = np.asarray(hits, float), np.asarray(counts, float)
    total, seen = counts.sum(-1), hits.sum(-1)
    some = total > 0
    safe = np.where(some, total, 1.0)
    lasting = (1 + fit.autocorrelation) / (1 - fit.autocorrelation)
    nights = (counts > 0).sum(-1)
    alike = (counts**2).sum(-1) / safe**2 * np.where(nights > 1, lasting, 1.0)
    rho = np.minimum(alike, 1.0) * fit.overdispersion[category]
    spread = np.clip(rho + 1 / (fit.units[category] + 1), 1e-6, _MOST_OVERDISPERSION)
    size = 1 / spread - 1
    share = fit.shares[category]
    law = betabinom(safe.astype(int), share * size, (1 - share) * size)
    p = 2 * np.minimum(law.sf(seen - 1), law.cdf(seen))
    return np.where(some, np.minimum(p, 1.0), 1.0), seen / safe
