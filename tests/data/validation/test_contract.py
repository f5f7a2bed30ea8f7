"""Validation on tables that are poor rather than wrong."""

from __future__ import annotations

import dataclasses
from datetime import date, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from data.files import write_table
from data.records import TABLES, Intervention
from data.validation import ContractBroken, ValidationParams, validate
from tests.data.validation.small_store import NOW, AStore


def run(store: AStore) -> dict[str, Any]:
    return validate(store.root, ValidationParams(), read_audio=store.read_audio, now=NOW)


def test_a_centre_without_calls_transcripts_or_outcomes_passes(tmp_path: Path) -> None:
    store = AStore(tmp_path).write()
    for table in ("recordings", "turns", "outcomes"):
        (tmp_path / "tables" / f"{table}.parquet").unlink()
    summary = run(store)
    assert summary["rejected"] == 0
    assert summary["input_audio_s"] == 0
    assert pl.read_parquet(tmp_path / "clean" / "turns.parquet").schema == TABLES["turns"]


def test_optional_values_may_be_missing(tmp_path: Path) -> None:
    store = AStore(tmp_path)
    store.customers = [
        dataclasses.replace(row, since=None, monthly_price=None) for row in store.customers
    ]
    store.contacts = [dataclasses.replace(row, wait_s=None) for row in store.contacts]
    store.turns = [dataclasses.replace(row, start_s=None, end_s=None) for row in store.turns]
    store.outcomes = [dataclasses.replace(row, observed_until=None) for row in store.outcomes]
    assert run(store.write())["rejected"] == 0


def test_rows_without_a_key_are_refused_and_named_by_their_place(tmp_path: Path) -> None:
    store = AStore(tmp_path)
    store.write()
    path = tmp_path / "tables" / "contacts.parquet"
    contacts = pl.read_parquet(path)
    nameless = pl.when(pl.col("contact_id") != "k3").then(pl.col("contact_id"))
    write_table(path, contacts.with_columns(contact_id=nameless))
    summary = run(store)
    assert summary["reasons"] == {
        "contacts/no-contact-id": 1,
        "recordings/unknown-contact": 1,
        "turns/unknown-contact": 2,
    }
    assert '"thing": "row 3"' in (tmp_path / "quarantine" / "validate.jsonl").read_text()


def test_a_damaged_table_stops_with_its_folder_named(tmp_path: Path) -> None:
    store = AStore(tmp_path).write()
    (tmp_path / "tables" / "turns.parquet").write_bytes(b"not parquet")
    with pytest.raises(ContractBroken, match=r"tables.*Ingest again"):
        run(store)
    assert (tmp_path / "validate.json").exists()


def test_now_must_say_its_time_zone(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="time zone"):
        validate(
            tmp_path,
            ValidationParams(),
            read_audio=AStore(tmp_path).read_audio,
            now=datetime(2026, 6, 1),
        )


def test_a_decision_that_cannot_be_true_is_rejected_and_the_others_stay(tmp_path: Path) -> None:
    store = AStore(tmp_path)
    made = Intervention("c1", date(2026, 3, 1), "call back", True, "random", 0.5, 12.0)
    wrong: dict[str, dict[str, Any]] = {
        "impossible-propensity": {"propensity": 1.5},
        "negative-cost": {"cost": -1.0},
        "unknown-customer": {"customer_id": "ghost"},
        "before-the-customer": {"decided_on": date(2024, 1, 1)},
        "in-the-future": {"decided_on": date(2036, 1, 1)},
        "duplicate-intervention": {},
    }
    store.interventions = [
        made,
        dataclasses.replace(made, customer_id="c2", propensity=None, cost=None),
    ]
    store.interventions += [
        dataclasses.replace(made, **{"customer_id": f"c{3 + n}" if change else "c1", **change})
        for n, change in enumerate(wrong.values())
    ]
    params = dataclasses.replace(ValidationParams(), tolerated_rejects=10)
    summary = validate(store.write().root, params, read_audio=store.read_audio, now=NOW)
    assert summary["reasons"] == {f"interventions/{reason}": 1 for reason in wrong}
    assert pl.read_parquet(tmp_path / "clean/interventions.parquet")["customer_id"].to_list() == [
        "c1",
        "c2",
    ]
