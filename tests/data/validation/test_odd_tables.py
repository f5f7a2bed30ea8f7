"""Validation on tables that are poor rather than wrong."""

from __future__ import annotations

import dataclasses
from datetime import datetime

import polars as pl
import pytest

from data.records import TABLES
from data.store import write_table
from data.validation import ContractBroken, ValidationParams, validate
from tests.data.validation.factory import NOW, AStore


def run(store):
    return validate(store.root, ValidationParams(), store.read_audio, NOW)


def test_a_centre_without_calls_transcripts_or_outcomes_passes(tmp_path):
    store = AStore(tmp_path).write()
    for table in ("recordings", "turns", "outcomes"):
        (tmp_path / "tables" / f"{table}.parquet").unlink()
    summary = run(store)
    assert summary["rejected"] == 0
    assert summary["input_audio_s"] == 0
    assert pl.read_parquet(tmp_path / "clean" / "turns.parquet").schema == TABLES["turns"]


def test_optional_values_may_be_missing(tmp_path):
    store = AStore(tmp_path)
    store.customers = [dataclasses.replace(one, since=None, monthly_price=None) for one in store.customers]
    store.contacts = [dataclasses.replace(one, wait_s=None) for one in store.contacts]
    store.turns = [dataclasses.replace(one, start_s=None, end_s=None) for one in store.turns]
    store.outcomes = [dataclasses.replace(one, observed_until=None) for one in store.outcomes]
    assert run(store.write())["rejected"] == 0


def test_rows_without_a_key_are_refused_and_named_by_their_place(tmp_path):
    store = AStore(tmp_path)
    store.write()
    path = tmp_path / "tables" / "contacts.parquet"
    contacts = pl.read_parquet(path)
    nameless = pl.when(pl.col("contact_id") != "k3").then(pl.col("contact_id"))
    write_table(path, contacts.with_columns(contact_id=nameless))
    summary = run(store)
    assert summary["reasons"] == {
        "contacts/no-contact-id": 1, "recordings/unknown-contact": 1, "turns/unknown-contact": 2,
    }  # fmt: skip
    assert '"thing": "row 3"' in (tmp_path / "quarantine" / "validate.jsonl").read_text()


def test_a_damaged_table_stops_with_its_folder_named(tmp_path):
    store = AStore(tmp_path).write()
    (tmp_path / "tables" / "turns.parquet").write_bytes(b"not parquet")
    with pytest.raises(ContractBroken, match=r"tables.*Ingest again"):
        run(store)
    assert (tmp_path / "validate.json").exists()


def test_now_must_say_its_time_zone(tmp_path):
    with pytest.raises(ValueError, match="time zone"):
        validate(tmp_path, ValidationParams(), AStore(tmp_path).read_audio, datetime(2026, 6, 1))
