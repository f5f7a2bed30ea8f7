"""Calibration by slice promises to find where risks mean something else, and to be silent about a handful of people."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from evaluation.churn.scorecard import churn_scorecard
from evaluation.metrics.churn_slices import LEAST_CUSTOMERS, LEAST_LEAVERS, calibration_by_slice
from evaluation.scorecard import load
from tests.evaluation.metrics.test_churn import predictions


def sliced() -> pl.DataFrame:
    """On one of two plans far more leave than is foreseen; a third has forty customers, and from the hundred on the
    fourth hardly anybody leaves."""
    frame = predictions(3000, observed_days=(30, 300))
    number, risk = np.arange(3000), frame["risk_90"].to_numpy()
    plan = np.where(number % 2 == 0, "flex", "fixed")
    plan[np.argsort(risk)[:100]] = "loyal"
    plan[:40] = "rare"
    low = 1 / (1 + ((1 / pl.col("risk_90")) - 1) * np.e)  # a logit of 1 too little
    return frame.with_columns(pl.Series("plan", plan)).with_columns(
        pl.when(pl.col("plan") == "flex").then(low).otherwise("risk_90").alias("risk_90")
    )


@pytest.fixture(scope="module")
def entries() -> dict[str, dict[str, Any]]:
    return {entry["value"]: entry for entry in calibration_by_slice(sliced(), ["plan"], seed=0)}


def test_a_slice_with_too_low_risks_is_surely_off_and_the_other_is_not(
    entries: dict[str, dict[str, Any]],
) -> None:
    flex, fixed = entries["flex"]["figures"], entries["fixed"]["figures"]
    assert flex["calibration_intercept"]["low"] > 0.7
    assert flex["observed_rate"]["low"] > flex["expected_rate"]["high"]
    assert fixed["calibration_intercept"]["low"] < 0 < fixed["calibration_intercept"]["high"]
    assert fixed["calibration_slope"]["low"] < 1 < fixed["calibration_slope"]["high"]
    assert fixed["ece"]["value"] < flex["ece"]["low"]


def test_a_handful_of_customers_is_counted_and_not_judged(
    entries: dict[str, dict[str, Any]],
) -> None:
    assert entries["rare"]["customers"] < LEAST_CUSTOMERS
    assert entries["rare"]["leavers"] >= LEAST_LEAVERS
    assert entries["rare"]["figures"] is None


def test_a_slice_hardly_anybody_left_from_is_counted_and_not_judged(
    entries: dict[str, dict[str, Any]],
) -> None:
    assert entries["loyal"]["customers"] > LEAST_CUSTOMERS
    assert 0 < entries["loyal"]["leavers"] < LEAST_LEAVERS
    assert entries["loyal"]["figures"] is None


def test_a_scorecard_keeps_it_and_is_json_without_nan(tmp_path: Path) -> None:
    constant = sliced()[:600].with_columns(pl.lit(0.3).alias("risk_90"))  # has no calibration slope
    card = churn_scorecard(
        constant, model="m", data_hash="d", seed=0, created_at="2026-03-01", slice_by=["plan"]
    )
    card.save(tmp_path / "c.json")

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    json.loads((tmp_path / "c.json").read_text(), parse_constant=refuse)
    again = load(tmp_path / "c.json")
    by_plan = {entry["value"]: entry["figures"] for entry in again.facts["calibration_slices"]}
    assert "calibration_slope" not in by_plan["flex"]
    assert by_plan["flex"]["observed_rate"]["value"] > 0.2
    assert {"c_index_90", "empc_90", "lift_5_90"} <= set(again.metrics)
    assert "calibration_slope_90" not in again.facts["calibration"]
