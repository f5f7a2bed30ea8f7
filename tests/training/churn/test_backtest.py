"""No fold of a backtest is trained on what came after its day, nor on a customer it is tested on."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from evaluation.metrics.churn_profit import Campaign
from training.churn.backtest import MODEL, BacktestParams, backtest, choose_test_days
from training.churn.learnable import ChurnTrainingError
from training.churn.settings import ChurnTraining
from training.churn.temporal_calibration import rows_known_on

QUICK = ChurnTraining(
    epochs=2, hidden=8, members=2, min_customers=30, min_events=5, horizons_days=(30, 90, 365)
)
Backtest = tuple[dict[str, Any], pl.DataFrame]  # summary and predictions
MONTHS = [date(2025, month, 1) for month in range(1, 13)]
END = date(2026, 3, 1)


def a_panel(customers: int = 400, seed: int = 0) -> pl.DataFrame:
    """A row a customer and month until they leave; friction, which lasts, makes leaving more likely."""
    rng = np.random.default_rng(seed)
    friction = rng.poisson(0.8, customers).astype(float)
    leaves = [
        MONTHS[0] + timedelta(days=int(days))
        for days in rng.exponential(900 / np.exp(0.9 * friction))
    ]
    sides = rng.choice(["train", "valid", "test"], customers, p=[0.5, 0.2, 0.3])
    rows = [
        (
            f"C{n}",
            day,
            sides[n],
            leaves[n] <= END,
            float((min(leaves[n], END) - day).days + 1),
            friction[n],
        )
        for day in MONTHS
        for n in range(customers)
        if leaves[n] >= day
    ]
    names = ["customer_id", "as_of", "split", "event", "time_days", "friction_30d"]
    return pl.DataFrame(rows, schema=names, orient="row")


def with_another_future(panel: pl.DataFrame, day: date) -> pl.DataFrame:
    """The same until the end of `day`; whoever was still there then leaves after a week or never."""
    known_days = (pl.lit(day) - pl.col("as_of")).dt.total_days()
    later = pl.col("time_days") > known_days
    soon = pl.col("customer_id").hash(7) % 2 == 0
    return panel.with_columns(
        pl.when(later).then(soon).otherwise("event").alias("event"),
        pl.when(later & soon)
        .then(known_days + 7.0)
        .when(later)
        .then(known_days + 200.0)
        .otherwise("time_days")
        .alias("time_days"),
    )


@pytest.fixture(scope="module")
def backtested(tmp_path_factory: pytest.TempPathFactory) -> Backtest:
    params = BacktestParams(folds=2, min_training_days=150)
    return backtest(
        a_panel(), params, QUICK, work_dir=tmp_path_factory.mktemp("folds"), campaign=Campaign()
    )


def test_what_was_known_on_a_day_ends_there() -> None:
    panel, day = a_panel(), date(2025, 7, 1)
    rows = rows_known_on(panel, day)
    assert (rows["as_of"] < day).all()
    ends = rows.select(pl.col("as_of") + pl.duration(days=pl.col("time_days"))).to_series()
    assert ends.max() == day
    assert rows["event"].sum() < panel.filter(pl.col("as_of") < day)["event"].sum()
    assert rows.equals(rows_known_on(with_another_future(panel, day), day))


def test_with_a_lead_time_a_day_knows_that_much_less() -> None:
    early, late = (rows_known_on(a_panel(), date(2025, 7, 1), lead) for lead in (14, 0))
    assert early["time_days"].max() == (late["time_days"] - 14).max()


def test_another_future_changes_no_prediction(backtested: Backtest, tmp_path: Path) -> None:
    _, predictions = backtested
    first = predictions.filter(pl.col("as_of") == predictions["as_of"].min())
    day = first["as_of"][0]
    _, again = backtest(
        with_another_future(a_panel(), day),
        BacktestParams(folds=2, min_training_days=150),
        QUICK,
        work_dir=tmp_path,
        campaign=Campaign(),
    )
    again = again.filter(pl.col("as_of") == day)
    assert not first["event"].equals(again["event"])
    assert first.drop("event", "time_days").equals(again.drop("event", "time_days"))


def test_the_test_set_is_of_customers_and_days_not_trained_on(backtested: Backtest) -> None:
    _, predictions = backtested
    panel = a_panel()
    held_out = set(panel.filter(split="test")["customer_id"])
    assert set(predictions["customer_id"]) <= held_out
    assert predictions["as_of"].n_unique() == 2


def test_a_horizon_is_scored_where_it_was_learned_and_came_true(backtested: Backtest) -> None:
    summary, _ = backtested
    assert [fold["horizons_days"] for fold in summary["folds"]] == [
        [30, 90],
        [30, 90],
    ]  # nobody was followed a year
    assert set(summary["pooled"]["metrics"][MODEL]) == {"risk_30", "risk_90"}
    for fold in summary["folds"]:
        assert (
            fold["metrics"][MODEL]["risk_90"]["brier"]["low"]
            < fold["metrics"][MODEL]["risk_90"]["brier"]["high"]
        )


def test_what_drives_leaving_is_found_beforehand(backtested: Backtest) -> None:
    summary, _ = backtested
    gain = summary["pooled"]["gain_in_brier"]["life table"]["risk_90"]
    assert gain["low"] > 0
    assert gain["customers"] > 70


def test_days_are_spread_over_those_that_can_be_tested_on() -> None:
    params = BacktestParams(folds=3, min_training_days=100, min_follow_up_days=120)
    assert choose_test_days(a_panel(), params) == [
        date(2025, 5, 1),
        date(2025, 8, 1),
        date(2025, 11, 1),
    ]


def test_too_short_a_history_and_undated_outcomes_are_said() -> None:
    with pytest.raises(ChurnTrainingError, match=r"Lower backtest\.min_training_days"):
        choose_test_days(a_panel(), BacktestParams(min_training_days=900))
    undated = a_panel(40).with_columns(pl.lit(None, pl.Float64).alias("time_days"))
    with pytest.raises(ChurnTrainingError, match="no dates"):
        choose_test_days(undated, BacktestParams())


def test_a_fold_with_too_few_to_learn_from_says_so_and_the_others_go_on(tmp_path: Path) -> None:
    panel = a_panel()
    few = replace(QUICK, min_events=50)
    summary, _ = backtest(
        panel,
        BacktestParams(folds=2, min_training_days=30),
        few,
        work_dir=tmp_path,
        campaign=Campaign(),
    )
    assert "50 needed" in summary["folds"][0]["skipped"]
    assert "metrics" in summary["folds"][-1]
