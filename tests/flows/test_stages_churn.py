"""Scoring works on a short history and leaves out whoever is known to have left."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

import polars as pl

from data.features import features
from data.features.features import FeatureParams
from data.records import OUTCOMES
from evaluation.churn import scoring
from flows.stages import churn
from models.churn.model import ChurnModel
from tests.churn_helpers import QUICK, RecordedRun, churn_table
from training.churn.train import train

HORIZONS = (30, 90, 180, 365)


def test_a_history_shorter_than_a_horizon_is_scored_at_the_others(tmp_path: Path) -> None:
    table = churn_table(1200).with_columns(
        (pl.col("event") & (pl.col("time_days") <= 120)).alias("event"),
        pl.min_horizontal("time_days", pl.lit(120.0)).alias("time_days"),
    )
    model = Path(train(replace(QUICK, epochs=0), table, tmp_path, run=RecordedRun())["model"])
    now = datetime(2026, 6, 1, tzinfo=UTC)
    cards = {
        who: scoring.score(
            table,
            path,
            name=who,
            bundle_sha256=who,
            horizons_days=HORIZONS,
            seed=0,
            now=now,
            truth=None,
        )
        for who, path in (("life table", None), ("candidate", model))
    }
    assert {"brier_30", "brier_90"} <= set(cards["candidate"].metrics)
    assert "brier_365" not in {*cards["candidate"].metrics, *cards["life table"].metrics}
    assert "brier_90" in cards["candidate"].facts["baselines"]["logistic regression"]


def test_who_left_on_a_day_nobody_knows_is_not_among_the_active() -> None:
    current = churn_table(4).select("customer_id", "as_of", "event", "time_days")
    left = {
        "customer_id": "C1",
        "event": "churn",
        "happened": True,
        "observed_until": date(2026, 1, 1),
    }
    other = left | {"customer_id": "C2", "event": "upgrade"}
    outcomes = pl.DataFrame(
        [left, other, left | {"customer_id": "C3", "happened": False}], schema=OUTCOMES
    )
    (active,) = features.active_customers([current], outcomes, FeatureParams())
    assert active["customer_id"].to_list() == ["C0", "C2", "C3"]


def test_categories_no_training_saw_are_counted(tmp_path: Path) -> None:
    table = churn_table()
    model = Path(train(replace(QUICK, epochs=0), table, tmp_path, run=RecordedRun())["model"])
    today = table.head(5).with_columns(pl.Series("plan", ["flex", "ultra", "plus", "ultra", None]))
    assert churn.unseen(model, today) == {"plan": {"ultra": 2}}
    assert churn.unseen(None, today) == {}
    assert ChurnModel.load(model).predict(today).height == 5
