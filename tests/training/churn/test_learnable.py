"""Checks before training: leaks either way round, and features that many churners support."""

from __future__ import annotations

import polars as pl
import pytest

from data.features.features import Feature
from tests.churn_helpers import QUICK, churn_table
from training.churn.learnable import (
    ChurnTrainingError,
    check_outcomes,
    leaking_features,
    supported_features,
)


def test_a_leak_is_seen_either_way_round_and_in_what_is_filled_for_churners_only() -> None:
    table = churn_table().with_columns(
        bonus=pl.when("event").then(-1.0).otherwise(1.0),
        closed_by=pl.when("event").then(pl.lit("agent")),
    )
    names = ["bonus", "closed_by", "friction_30d", "plan"]
    assert leaking_features(table, names, 0.995) == [("bonus", 1.0), ("closed_by", 1.0)]
    weaker = leaking_features(table, names, 0.5)
    assert [name for name, _ in weaker][:2] == ["bonus", "closed_by"]
    assert all(0.5 < auc < 0.9 for _, auc in weaker[2:])


def test_features_that_refine_others_need_more_churners() -> None:
    total = Feature("friction", "friction", "friction")
    window = Feature("friction_30d", "friction", "friction", detail=True)
    assert supported_features([total, window], 20, 10) == [total, window]
    assert supported_features([total, window], 19, 10) == [total]
    assert supported_features([window], 0, 10) == [window]  # better than nothing


@pytest.mark.parametrize("dated", [True, False])
def test_outcomes_have_dates_or_not(dated: bool) -> None:
    table = churn_table(dated=dated)
    parts = {name: table.filter(split=name) for name in ("train", "valid")}
    assert check_outcomes(QUICK, parts) is dated


def test_too_few_are_refused_with_the_setting_to_change() -> None:
    table = churn_table(30)
    parts = {name: table.filter(split=name) for name in ("train", "valid")}
    with pytest.raises(ChurnTrainingError, match=r"customers to learn from.*churn\.min_customers"):
        check_outcomes(QUICK, parts)
