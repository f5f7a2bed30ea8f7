"""Temporal calibration: the temperature that a model of the past needs on what came after it."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest

from data.features.features import describe
from models.churn.encoding import Encoder
from models.churn.hazard import HazardNetwork
from models.churn.model import ChurnConfig, describe_columns
from training.churn.additive import fit_additive
from training.churn.likelihood import Rows
from training.churn.temporal_calibration import TemporalCalibration, temporal_calibration

MONTHS = [date(2025, month, 1) for month in range(1, 13)]
DAY = MONTHS[8]  # two thirds into them
HORIZONS = (30, 90)


def a_panel(later: float, customers: int = 1500) -> pl.DataFrame:
    """A row a customer and month; friction multiplies the hazard by e, from `DAY` on by e to the `later`."""
    rng = np.random.default_rng(0)
    friction = rng.choice([0.0, 1.0, 2.0, 3.0], customers)
    days = np.arange((MONTHS[-1] - MONTHS[0]).days + 90)
    slope = np.where(days >= (DAY - MONTHS[0]).days, later, 1.0)
    gone = (
        np.cumsum(0.0003 * np.exp(slope * friction[:, None]), axis=1)
        > rng.exponential(1, customers)[:, None]
    )
    left = np.where(gone.any(axis=1), gone.argmax(axis=1), len(days))
    rows = []
    for month in MONTHS:
        begin = (month - MONTHS[0]).days
        for n in np.flatnonzero(left >= begin).tolist():
            side = "valid" if n % 5 == 0 else "train"
            seen = float(min(left[n], len(days)) - begin + 1)
            rows.append((f"C{n}", month, side, bool(left[n] < len(days)), seen, friction[n]))
    names = ["customer_id", "as_of", "split", "event", "time_days", "friction_30d"]
    return pl.DataFrame(rows, schema=names, orient="row")


def calibration_of(panel: pl.DataFrame, min_events: int = 10) -> TemporalCalibration | None:
    columns = describe_columns(panel, [describe("friction_30d")], bins=4)
    config = ChurnConfig(columns, HORIZONS, hidden=4, members=2, bias=(0.0, 0.0))

    def fit(network: HazardNetwork, rows: Rows) -> None:
        fit_additive(network, rows, ridge=1.0, mark_cost=0.1, steps=150)

    return temporal_calibration(
        config, Encoder(columns), panel, fit=fit, min_events=min_events, lead_days=0
    )


def test_C4_what_matters_less_than_it_did_cools_and_what_matters_as_much_does_not() -> None:
    as_ever, less = calibration_of(a_panel(later=1.0)), calibration_of(a_panel(later=0.5))
    assert as_ever is not None
    assert less is not None
    assert as_ever.day == less.day == DAY
    assert as_ever.temperature == pytest.approx(1.0, abs=0.06)
    assert less.temperature < as_ever.temperature - 0.08


def test_C4_only_what_came_after_the_day_is_foreseen_and_only_what_was_known_learned() -> None:
    panel = a_panel(later=1.0)
    known_days = (pl.lit(DAY) - pl.col("as_of")).dt.total_days()
    after = (pl.col("as_of") < DAY) & (pl.col("time_days") > known_days)
    other = panel.with_columns(
        pl.when(after).then(~pl.col("event")).otherwise("event").alias("event"),
        pl.when(after).then(known_days + 50.0).otherwise("time_days").alias("time_days"),
    )
    assert not other.equals(panel)
    assert calibration_of(other) == calibration_of(panel)


def test_C4_a_past_or_a_future_of_too_few_says_nothing() -> None:
    panel = a_panel(later=1.0)
    assert calibration_of(panel, min_events=10_000) is None
    assert calibration_of(panel.filter(pl.col("as_of") == MONTHS[0])) is None
    assert calibration_of(panel.filter(pl.col("as_of") >= DAY + timedelta(days=30))) is not None
