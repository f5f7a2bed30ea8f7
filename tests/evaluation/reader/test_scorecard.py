"""A reader's scorecard is cross-entropy and error share over contacts and labels, by customer."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from evaluation.reader.scorecard import (
    accuracy_by_label,
    argmax_labels,
    reader_scorecard,
)
from evaluation.reader.scorecard import test_set_hash as hash_of
from evaluation.scorecard import Scorecard, ScorecardError

VALUES = {"mood": ("good", "bad")}
CONTACTS = pl.DataFrame(
    {
        "contact_id": ["k1", "k2", "k3"],
        "customer_id": ["c1", "c2", "c3"],
        "channel": ["phone", "chat", "chat"],
    }
)
BELIEFS = pl.DataFrame(
    {
        "contact_id": ["k1", "k1", "k2", "k2"],
        "label": ["mood"] * 4,
        "value": ["good", "bad", "good", "bad"],
        "probability": [1.0, 0.0, 0.25, 0.75],
    }
)
PROBABILITIES = {"mood": np.array([[0.8, 0.2], [0.6, 0.4], [0.5, 0.5]])}


def _card(beliefs: pl.DataFrame = BELIEFS) -> Scorecard:
    return reader_scorecard(
        CONTACTS,
        beliefs,
        PROBABILITIES,
        labels=VALUES,
        model="m",
        data_hash="d",
        seed=0,
        created_at="2026-03-01",
    )


def test_only_contacts_with_a_belief_are_scored_and_each_counts_once() -> None:
    card = _card()
    assert card.units["unit"].to_list() == ["k1/mood", "k2/mood"]
    losses = [-np.log(0.8), -(0.25 * np.log(0.6) + 0.75 * np.log(0.4))]
    assert card.metrics["log_loss"].value == pytest.approx(np.mean(losses))
    assert card.metrics["label_errors"].value == 0.5
    assert set(card.slices) == {"label", "channel"}


def test_without_any_belief_there_is_no_scorecard() -> None:
    with pytest.raises(ScorecardError, match="nothing is believed"):
        _card(BELIEFS.clear())


def test_a_contact_without_a_given_value_counts_as_wrong() -> None:
    truth = pl.DataFrame(
        {"contact_id": ["k1", "k2", "k3"], "label": ["mood"] * 3, "value": ["good", "bad", "good"]}
    )
    accuracy = accuracy_by_label(argmax_labels(BELIEFS), truth, CONTACTS, seed=0)["mood"]
    assert accuracy["value"] == pytest.approx(2 / 3)
    assert accuracy["given"] == pytest.approx(2 / 3)
    assert accuracy["contacts"] == 3


def test_the_hash_does_not_depend_on_the_order_of_rows() -> None:
    turns = pl.DataFrame(
        {
            "contact_id": ["k1", "k2"],
            "turn": [0, 0],
            "role": ["customer", "customer"],
            "text": ["hello", "goodbye"],
        }
    )
    assert hash_of(turns, BELIEFS) == hash_of(turns.reverse(), BELIEFS.reverse())
    other = turns.with_columns(pl.lit("hello").alias("text"))
    assert hash_of(turns, BELIEFS) != hash_of(other, BELIEFS)
