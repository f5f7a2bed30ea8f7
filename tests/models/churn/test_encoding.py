"""The encoding: numbers fill bins from below, categories have an input, missing ones a flag."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from data.features.features import Feature
from models.churn.encoding import ChurnModelError, Encoder, describe_columns

FEATURES = [
    Feature("age", "age", "person"),
    Feature("plan", "plan", "plan", value_type="categorical"),
    Feature("constant", "constant", "person"),
    Feature("friction", "friction", "friction", carries=True),
]
ROWS = pl.DataFrame(
    {
        "age": [0.0, 10.0, 20.0, 30.0, None],
        "plan": ["a", "b", "a", None, "a"],
        "constant": [1.0] * 5,
        "friction": [0.0, 1.0, 0.5, 2.0, 0.0],
    }
)


@pytest.fixture
def encoder() -> Encoder:
    return Encoder(describe_columns(ROWS, FEATURES, bins=3))


def test_columns_hold_what_training_rows_showed(encoder: Encoder) -> None:
    age, plan, friction = encoder.columns
    assert (age.kind, age.edges, age.reference, age.has_missing) == (
        "numeric",
        (0.0, 10.0, 20.0, 30.0),
        15.0,
        True,
    )
    assert (plan.kind, plan.values, plan.reference) == ("categorical", ("a", "b", None), "a")
    assert (friction.kind, friction.has_missing) == ("carried", False)


def test_a_number_fills_its_bins_from_below(encoder: Encoder) -> None:
    customer = {"age": 15.0, "plan": "b", "friction": 0.5}
    (inputs,) = encoder.rows([customer])
    assert inputs[: encoder.bins].tolist() == [1.0, 0.5, 0.0]
    # Standard score, flag of a missing age, plans a, b and none, carried friction.
    assert inputs[encoder.bins :].tolist() == pytest.approx([0.0, 0.0, 0.0, 1.0, 0.0, 0.5])


def test_missing_unknown_and_extreme_values_have_inputs_of_their_own(encoder: Encoder) -> None:
    missing, unknown, extreme = encoder.rows(
        [
            {"age": None, "plan": None, "friction": None},
            {"age": float("inf"), "plan": "never seen", "friction": -1.0},
            {"age": 1e300, "plan": "a", "friction": 1e9},
        ]
    )
    assert missing.tolist() == [0, 0, 0, 0, 1, 0, 0, 1, 0]
    assert unknown.tolist() == [0, 0, 0, 0, 1, 0, 0, 0, 0]
    assert extreme.tolist() == [1, 1, 1, 4, 0, 1, 0, 0, 2]


def test_rows_and_frames_are_encoded_alike(encoder: Encoder) -> None:
    np.testing.assert_array_equal(encoder.frame(ROWS), encoder.rows(ROWS.to_dicts()))
    assert encoder.frame(ROWS).shape == (5, encoder.width)


def test_every_input_belongs_to_its_column(encoder: Encoder) -> None:
    names = [encoder.columns[place].name for place in encoder.owner]
    assert names == ["age"] * 5 + ["plan"] * 3 + ["friction"]
    bins, score, flag = encoder.places(0)
    assert (bins.tolist(), score, flag) == ([0, 1, 2], 3, 4)


def test_a_missing_column_and_a_text_for_a_number_are_named(encoder: Encoder) -> None:
    with pytest.raises(ChurnModelError, match="no column age and 1 more"):
        encoder.frame(ROWS.drop("age", "plan"))
    with pytest.raises(ChurnModelError, match="column age is not numeric"):
        encoder.rows([{"age": "old", "plan": "a", "friction": 0.0}])
