"""Calibration within slices: whether a risk means the same for every plan, region and tenure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from evaluation.metrics.bootstrap import Interval
from evaluation.metrics.churn import bootstrapped, horizon_days, outcomes_by_horizon, risk_columns
from evaluation.metrics.churn_figures import calibration

LEAST_CUSTOMERS = 50  # in a slice, and …
LEAST_LEAVERS = 10  # … of them who left, for its figures to say more than chance
_DRAWS = 200


def calibration_by_slice(
    frame: pl.DataFrame, slice_by: Sequence[str], seed: int
) -> list[dict[str, Any]]:
    """Returns one entry for each value of each column `slice_by` and horizon, in the order of both.

    Each has by, value, horizon_days (None without dates), customers, leavers (of customers with a
    known state), and figures: expected and observed rate (mean risk, and share that left),
    calibration_intercept, calibration_slope and ece, each with value, low and high (95 %, drawn by
    customer). Figures are None with fewer than LEAST_CUSTOMERS or LEAST_LEAVERS. Weights against
    censoring are those of the whole frame, as in evaluation.metrics.churn.
    """
    entries = []
    for by in slice_by:
        values = sorted(frame[by].drop_nulls().unique().cast(pl.String).to_list())
        for name in risk_columns(frame):
            left, weight = outcomes_by_horizon(frame, horizon_days(name))
            for value in values:
                rows = (frame[by].cast(pl.String) == value).fill_null(False).to_numpy() & (
                    weight > 0
                )
                customer = frame["customer_id"].to_numpy()[rows]
                entries.append(
                    {
                        "by": by,
                        "value": value,
                        "horizon_days": horizon_days(name),
                        "customers": len(set(customer)),
                        "leavers": len(set(customer[left[rows]])),
                        "figures": _figures(
                            left[rows],
                            frame[name].to_numpy()[rows],
                            weight[rows],
                            customer=customer,
                            seed=seed,
                        ),
                    }
                )
    return entries


def _figures(
    left: np.ndarray, risk: np.ndarray, weight: np.ndarray, *, customer: np.ndarray, seed: int
) -> dict[str, dict[str, float | None]] | None:
    if (
        len(set(customer)) < LEAST_CUSTOMERS
        or len(set(customer[left])) < LEAST_LEAVERS
        or left.all()
    ):
        return None
    intervals = bootstrapped(
        customer, weight, lambda drawn: calibration(left, risk, drawn), seed=seed, draws=_DRAWS
    )
    return {
        name: _to_json(interval)
        for name, interval in intervals.items()
        if np.isfinite(interval.value)
    }


def _to_json(interval: Interval) -> dict[str, float | None]:
    return {"value": interval.value, "low": interval.low, "high": interval.high}
