"""Tests that each planted leak is named and that clean data passes."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import polars as pl
import pytest

from data.features.features import FeatureParams, features
from data.leaks import assert_customers_apart, assert_manifests_apart, assert_no_future
from data.records import LABELS, frame
from data.splits import LeakError
from tests.factories import a_contact, a_customer, an_outcome

AS_OF = date(2026, 3, 1)


def a_cut(contact_id: str, voice: str | None = None) -> dict[str, Any]:
    return {"audio_filepath": f"audio/{contact_id}.wav", "contact_id": contact_id, "voice": voice}


def the_splits(**customer_of: str) -> pl.DataFrame:
    rows = [
        {"contact_id": contact, "customer_id": customer}
        for contact, customer in customer_of.items()
    ]
    return pl.DataFrame(rows, schema={"contact_id": pl.String, "customer_id": pl.String})


def test_speech_of_different_people_passes() -> None:
    manifests = {
        "train": [a_cut("a", "v1"), a_cut("a"), a_cut("b", "v1")],
        "test": [a_cut("c", "v2"), a_cut("c", "v2")],
    }
    assert_manifests_apart(manifests, the_splits(a="C1", b="C2", c="C3"))


@pytest.mark.parametrize(
    ("planted", "says"),
    [
        (a_cut("a", "v9"), "call a: in the speech of train and of test"),
        (a_cut("d", "v1"), "voice v1: in the speech of train and of test"),
        (a_cut("e", "v9"), "customer C1: in the speech of train and of test"),
        (
            {**a_cut("d", "v9"), "audio_filepath": "../speech/audio/a.wav"},
            "cut a.wav: in the speech",
        ),
    ],
)
def test_a_planted_cut_is_named(planted: dict[str, Any], says: str) -> None:
    manifests = {"train": [a_cut("a", "v1")], "test": [a_cut("c", "v2"), planted]}
    with pytest.raises(LeakError, match=says):
        assert_manifests_apart(manifests, the_splits(a="C1", c="C3", d="C4", e="C1"))


def some_features(split: str = "train") -> tuple[pl.DataFrame, dict[str, pl.DataFrame]]:
    """Features of two customers with contacts up to a second around the as-of date."""
    midnight = datetime(2026, 3, 1, tzinfo=UTC)
    tables = {
        "customers": frame("customers", [a_customer("C1"), a_customer("C2")]),
        "contacts": frame(
            "contacts",
            [
                a_contact("k1", "C1", started_at=midnight - timedelta(days=40)),
                a_contact("k2", "C1", started_at=midnight - timedelta(days=30)),
                a_contact("k3", "C1", started_at=midnight - timedelta(seconds=1)),
                a_contact("k4", "C1", started_at=midnight),
                a_contact("k5", "C2", started_at=midnight + timedelta(hours=1)),
            ],
        ),
        "outcomes": frame(
            "outcomes",
            [
                an_outcome("C1", on=date(2026, 4, 2)),
                an_outcome("C2", False, on=None, observed_until=date(2026, 8, 1)),
            ],
        ),
    }
    rows = features(tables, pl.DataFrame(schema=LABELS), [AS_OF], params=FeatureParams())
    return rows.with_columns(pl.lit(split).alias("split")), tables


def test_features_that_know_only_the_past_pass() -> None:
    rows, tables = some_features()
    assert rows.filter(pl.col("customer_id") == "C1")["contacts_30d"].to_list() == [2]
    assert_no_future(rows, tables["contacts"], tables["outcomes"])
    assert_customers_apart(rows)


def test_a_contact_of_tomorrow_in_a_feature_is_found() -> None:
    rows, tables = some_features()
    seen = (pl.col("customer_id") == "C2") & (pl.col("as_of") == AS_OF)
    planted = rows.with_columns(
        pl.when(seen).then(1.0).otherwise("contacts_7d").alias("contacts_7d")
    )
    with pytest.raises(
        LeakError,
        match="customer C2 on 2026-03-01: contacts_7d is 1, but only 0 contacts had begun",
    ):
        assert_no_future(planted, tables["contacts"], tables["outcomes"])


def test_a_customer_who_had_left_is_not_learned_from() -> None:
    rows, tables = some_features()
    gone = frame("outcomes", [an_outcome("C1", on=date(2026, 2, 20))])
    with pytest.raises(
        LeakError, match="customer C1: left on 2026-02-20 and is in the features of 2026-03-01"
    ):
        assert_no_future(rows, tables["contacts"], gone)


def test_a_customer_on_both_sides_is_named() -> None:
    rows = pl.concat(
        [some_features("train")[0], some_features("test")[0].filter(pl.col("customer_id") == "C2")]
    )
    with pytest.raises(LeakError, match="customer C2: in the features of test and train, 1 such"):
        assert_customers_apart(rows)
