"""Tests the columns that expectations need beside those of the records."""

from __future__ import annotations

from datetime import UTC, datetime

import polars as pl

from data.records import TABLES, frame
from data.validation.tables import (
    column_catalogue,
    outcomes_with_since,
    recordings_in_order,
    turns_with_overrun,
    with_key,
    with_parent,
)
from tests.factories import a_contact, a_customer, a_recording, a_turn, an_outcome


def test_the_catalogue_names_missing_and_unknown_columns() -> None:
    customers = frame("customers", []).drop("plan").with_columns(age=pl.lit(1, pl.Int64))
    rows = {
        column: (expected, actual)
        for _, column, expected, actual in column_catalogue({"customers": customers}).iter_rows()
    }
    assert rows["plan"] == ("String", "none")
    assert rows["age"] == ("none", "Int64")
    assert rows["phone"] == ("String", "String")
    assert len(rows) == len(TABLES["customers"]) + 1


def test_a_key_is_made_of_all_key_columns_and_null_where_one_is() -> None:
    turns = frame("turns", [a_turn("k1", 0), a_turn("k1", 1)])
    keys = with_key("turns", turns)["key"]
    assert keys.n_unique() == 2
    assert with_key("turns", turns.with_columns(origin=pl.lit(None)))["key"].null_count() == 2


def test_a_row_is_blamed_for_an_unlisted_or_for_a_rejected_parent() -> None:
    contacts = frame("contacts", [a_contact(f"k{n}", f"C{n}") for n in (1, 2, 3)])
    listed, accepted = (
        frame("customers", [a_customer(name) for name in names])
        for names in (("C1", "C2"), ("C1",))
    )
    checked = with_parent(
        contacts, "customer_id", listed=listed, accepted=accepted, what="customer"
    )
    assert checked["customer_listed"].to_list() == [True, True, False]
    assert checked["customer_accepted"].to_list() == [True, False, None]


def test_recordings_of_the_earliest_accepted_contact_come_first() -> None:
    contacts = frame(
        "contacts",
        [a_contact(f"k{day}", started_at=datetime(2026, 3, day, tzinfo=UTC)) for day in (1, 2, 3)],
    )
    recordings = frame("recordings", [a_recording(name) for name in ("k3", "k1", "k2")])
    accepted = recordings.with_columns(contact_accepted=pl.col("contact_id") != "k1")
    assert recordings_in_order(accepted, contacts)["contact_id"].to_list() == ["k2", "k3", "k1"]


def test_overrun_is_what_a_turn_exceeds_its_recording_by() -> None:
    turns = frame("turns", [a_turn("k1", 0, end_s=5.5), a_turn("none", 0, end_s=1.0)])
    recordings = frame("recordings", [a_recording("k1", duration_s=5.0)])
    assert turns_with_overrun(turns, recordings)["overrun_s"].to_list() == [0.5, None]


def test_a_date_belongs_to_what_happened() -> None:
    outcomes = frame("outcomes", [an_outcome("C1"), an_outcome("C1", happened=False)])
    checked = outcomes_with_since(outcomes, frame("customers", [a_customer("C1")]))
    assert checked["dated_only_if_happened"].to_list() == [True, False]
