"""Rules and reader together: where they agree to be heard, and where the rules' word stands."""

from __future__ import annotations

import polars as pl
import pytest

from data.labelling.complete import TOGETHER, ReadingParams, merge_with_reader
from data.records import LABELS

SENTIMENT = ("negative", "neutral", "positive")


def beliefs(label: str, chances: dict[str, float], who: str, contact: str = "k") -> pl.DataFrame:
    rows = [(contact, label, value, chance, who) for value, chance in chances.items()]
    return pl.DataFrame(rows, schema=LABELS, orient="row")


def given(label: str, value: str, chance: float) -> pl.DataFrame:
    return beliefs(label, {value: chance}, "label_model")


NOTHING = pl.DataFrame(schema=LABELS)


def test_the_geometric_mean_decides_where_both_are_heard() -> None:
    rules = beliefs("sentiment", {"negative": 0.2, "neutral": 0.6, "positive": 0.2}, "label_model")
    read = beliefs("sentiment", {"negative": 0.9, "neutral": 0.05, "positive": 0.05}, "reader")
    (row,) = merge_with_reader(
        given("sentiment", "neutral", 0.6), rules, read, params=ReadingParams()
    ).to_dicts()
    assert (row["value"], row["origin"]) == ("negative", TOGETHER)
    negative, neutral, positive = (0.2 * 0.9) ** 0.5, (0.6 * 0.05) ** 0.5, (0.2 * 0.05) ** 0.5
    assert row["probability"] == pytest.approx(negative / (negative + neutral + positive))


def test_a_label_neither_makes_likely_is_taken_back() -> None:
    rules = beliefs("sentiment", {"negative": 0.5, "neutral": 0.3, "positive": 0.2}, "label_model")
    read = beliefs("sentiment", {"negative": 0.1, "neutral": 0.4, "positive": 0.5}, "reader")
    assert merge_with_reader(
        given("sentiment", "negative", 0.5), rules, read, params=ReadingParams()
    ).is_empty()


def test_the_rules_stand_alone_for_what_they_measure_and_for_what_could_not_be_read() -> None:
    transfer = beliefs("friction_transfer", {"no": 0.9, "yes": 0.1}, "label_model")
    read = beliefs("friction_transfer", {"no": 0.01, "yes": 0.99}, "reader")
    rules = given("friction_transfer", "no", 0.9)
    assert merge_with_reader(rules, transfer, read, params=ReadingParams()).equals(rules)
    unread = given("sentiment", "neutral", 0.9)
    assert merge_with_reader(
        unread,
        beliefs("sentiment", {"neutral": 0.9}, "label_model"),
        NOTHING,
        params=ReadingParams(),
    ).equals(unread)


def test_the_reader_speaks_alone_only_in_the_gaps_it_was_given() -> None:
    reason = beliefs("reason", {"billing": 0.7, "other": 0.3}, "reader")
    mood = beliefs("sentiment", {"negative": 0.9, "neutral": 0.1}, "reader")
    completed = merge_with_reader(
        NOTHING, NOTHING, pl.concat([reason, mood]), params=ReadingParams()
    )
    assert completed.select("label", "value", "origin").rows() == [("reason", "billing", "reader")]
    unsure = beliefs("reason", {"billing": 0.4, "other": 0.3, "payment": 0.3}, "reader")
    assert merge_with_reader(NOTHING, NOTHING, unsure, params=ReadingParams()).is_empty()


def test_a_label_nobody_knows_is_refused() -> None:
    with pytest.raises(ValueError, match="mood is no label"):
        ReadingParams(together=("mood",))
