"""Intervals of ratios of sums whose units are correlated in two ways: by customer and by date.

A customer occurs at several as-of dates, and whatever happens in a month (a price rise, an outage)
touches all customers of its date. The variance clustered both ways is that by customer, plus that by
date, less that by both (Cameron, Gelbach and Miller 2011). It may come out below the one by customer,
and even negative; then the one by customer is taken.
"""

from __future__ import annotations

import math

import numpy as np

from evaluation.metrics.bootstrap import LEVEL, Interval

MIN_DATES = 6  # with fewer the variance between dates cannot be estimated, see `two_way_ratio`


def two_way_ratio(
    numerator: np.ndarray,
    denominator: np.ndarray,
    customer: np.ndarray,
    date: np.ndarray,
    *,
    level: float = LEVEL,
) -> Interval:
    """Returns sum(numerator) / sum(denominator) with its interval, clustered both ways.

    All are [units]. The error is linearised (Cochran 1977, 6.4) and compared with Student's t with
    one degree of freedom less than the smaller number of clusters. With fewer than MIN_DATES dates
    the dates set no degrees of freedom (with two the interval would be 6 times as wide and say
    nothing): then the interval does not hold what a single date does to all customers. `clusters`
    is the number of customers; without two of them there are no ends. Raises ValueError when the
    denominators sum to 0.
    """
    total = float(denominator.sum())
    if not total > 0:
        raise ValueError(f"two-way interval: {len(numerator)} units weigh nothing together.")
    value = float(numerator.sum()) / total
    residual = (numerator - value * denominator) / total
    customers, dates = _codes(customer), _codes(date)
    counts = int(customers.max()) + 1, int(dates.max()) + 1
    if counts[0] < 2:
        return Interval(value, None, None, len(numerator), counts[0])
    by_customer = _variance(residual, customers)
    both = customers * counts[1] + dates
    two_way = by_customer + _variance(residual, dates) - _variance(residual, both)
    error = math.sqrt(max(by_customer, two_way))
    freedom = (min(counts) if counts[1] >= MIN_DATES else counts[0]) - 1
    reach = _student_quantile((1 + level) / 2, freedom) * error
    return Interval(value, value - reach, value + reach, len(numerator), counts[0])


def _codes(names: np.ndarray) -> np.ndarray:
    return np.asarray(np.unique(np.asarray(names, dtype=str), return_inverse=True)[1])


def _variance(residual: np.ndarray, cluster: np.ndarray) -> float:
    """Returns the clustered variance of a sum of residuals, corrected for few clusters."""
    sums = np.bincount(cluster, residual)
    count = int((np.bincount(cluster) > 0).sum())
    return float((sums**2).sum() * count / (count - 1)) if count > 1 else 0.0


def _student_quantile(share: float, freedom: int) -> float:
    from scipy.stats import t

    return float(t.ppf(share, freedom))
