"""Whom to treat: the highest scores a group's budget allows; what keeping a customer brings."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from models.churn.treatment import TreatmentParams, choose, customer_value


def test_each_group_gets_its_highest_scores_within_its_own_budget() -> None:
    score = np.array([0.1, 0.9, 0.5, 0.4, 0.8, 0.2, 0.3, 0.7])
    group = np.array(["a", "a", "a", "a", "b", "b", "b", "b"])
    assert np.flatnonzero(choose(score, group, 0.5)).tolist() == [1, 2, 4, 7]
    assert np.flatnonzero(choose(score, group, 0.25)).tolist() == [1, 4]
    assert not choose(score, group, 0.2).any(), "a fifth of four is nobody"


def test_a_score_not_above_the_threshold_is_not_chosen_whatever_the_budget() -> None:
    score, group = np.array([0.0, -1.0, 2.0, 0.5]), np.zeros(4)
    assert choose(score, group, 1.0, above=0.0).tolist() == [False, False, True, True]


def test_of_equal_scores_the_first_is_chosen() -> None:
    assert choose(np.ones(4), np.zeros(4), 0.5).tolist() == [True, True, False, False]


def test_a_customers_value_is_the_margin_of_the_months_they_stay() -> None:
    params = TreatmentParams(margin_share=0.5, margin_per_month=10.0, months_kept=6.0)
    values = customer_value(pl.Series([20.0, None]), params)
    assert values.to_list() == [60.0, 60.0]


@pytest.mark.parametrize(
    ("field", "value"), [("budget_share", 0.0), ("budget_share", 1.5), ("clip", 0.5), ("folds", 1)]
)
def test_params_that_make_no_sense_are_named(field: str, value: float) -> None:
    with pytest.raises(ValueError, match=rf"treatment\.{field} must be"):
        TreatmentParams(**{field: value})  # type: ignore[arg-type]
