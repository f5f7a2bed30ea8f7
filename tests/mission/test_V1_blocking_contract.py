"""V1: a blocking contract on tables and audio; each reject sits in quarantine with its reason."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from data.audio import to_wav_bytes
from data.files import read_json, read_tables, write_table
from data.records import Customer, Outcome, Turn
from data.validation import ContractBroken, ValidationParams, validate
from tests.data.validation.small_store import NOW, AStore, a_call


def quarantine(store: AStore) -> list[dict[str, Any]]:
    return [
        json.loads(line)
        for line in (store.root / "quarantine" / "validate.jsonl").read_text().splitlines()
    ]


def run(store: AStore, params: ValidationParams | None = None) -> dict[str, Any]:
    return validate(store.root, params or ValidationParams(), read_audio=store.read_audio, now=NOW)


def test_V1_good_data_passes_whole(tmp_path: Path) -> None:
    store = AStore(tmp_path).write()
    summary = run(store)
    assert summary["stopped"] is None
    assert summary["rejected"] == 0
    assert summary["accepted_audio_s"] == summary["input_audio_s"] == 36.0
    assert all(
        suite["success"] and suite["expectations"] > 0 for suite in summary["suites"].values()
    )
    for table, frame in read_tables(tmp_path / "tables").items():
        assert read_tables(tmp_path / "clean")[table].sort(pl.all()).equals(frame.sort(pl.all()))


def test_V1_every_bad_recording_lies_in_quarantine_once_with_its_reason_and_the_hours_add_up(
    tmp_path: Path,
) -> None:
    store = AStore(tmp_path, calls=40)
    planted = {
        "wrong-rate": a_call(seed=101, rate_hz=11025),
        "wrong-channels": a_call(seed=102, channels=1),
        "too-short": a_call(seed=103, duration_s=0.4),
        "clipped": a_call(seed=104, gain=3.0),
        "silent-customer": a_call(seed=105, silent=0),
        "silent-agent": a_call(seed=106, silent=1),
        "duplicate-content": store.audio["k0"],
        "unreadable": b"this is not audio",
    }
    for number, content in enumerate(planted.values(), start=20):
        store.audio[f"k{number}"] = content
    truncated = "k30"
    store.audio[truncated] = store.audio[truncated][:-3000]
    store.write()
    summary = run(store)

    lines = quarantine(store)
    expected = Counter({f"k{number}": reason for number, reason in enumerate(planted, start=20)})
    assert {line["thing"]: line["reason"] for line in lines} == dict(expected) | {
        truncated: "unreadable"
    }
    assert len(lines) == len({line["thing"] for line in lines}) == summary["rejected"] == 9
    assert all(line["table"] == "recordings" and line["next_step"] and line["at"] for line in lines)
    assert next(line for line in lines if line["reason"] == "duplicate-content")["detail"].endswith(
        "call k0"
    )
    accepted = pl.read_parquet(tmp_path / "clean" / "recordings.parquet")
    assert set(accepted["contact_id"]).isdisjoint(line["thing"] for line in lines)
    assert len(accepted) == 31
    lost = summary["rejected_audio_s"]
    assert set(lost) == set(planted)
    assert summary["accepted_audio_s"] + sum(lost.values()) == pytest.approx(
        summary["input_audio_s"], abs=1e-9
    )
    assert len(pl.read_parquet(tmp_path / "clean" / "contacts.parquet")) == 40, (
        "a contact outlives its recording"
    )


def test_V1_bad_rows_lie_in_quarantine_and_what_hangs_on_them_goes_along(tmp_path: Path) -> None:
    store = AStore(tmp_path, calls=40)

    def spoil(rows: list[Any], at: int, **changes: Any) -> None:
        rows[at] = dataclasses.replace(rows[at], **changes)

    # Takes contact k1, its recording, two turns and an outcome along.
    spoil(store.customers, 1, monthly_price=-5.0)
    spoil(store.contacts, 2, customer_id="nobody")
    spoil(store.contacts, 3, started_at=NOW + timedelta(days=2))
    spoil(store.contacts, 4, duration_s=-1.0)
    spoil(store.contacts, 5, channel="fax", duration_s=-1.0)
    spoil(store.turns, 12, role="robot")
    spoil(store.turns, 14, text="  ")
    spoil(store.turns, 16, end_s=900.0)
    spoil(store.outcomes, 9, happened=True, on=date(2024, 1, 1))
    store.outcomes.append(store.outcomes[10])
    store.outcomes.append(Outcome("ghost", "churn", False))
    store.customers.append(Customer("c11", attributes="{}"))
    store.turns.append(Turn("lost", 0, "customer", "hello", origin="written"))
    store.write()
    summary = run(store)

    reasons = {(line["table"], line["thing"]): line["reason"] for line in quarantine(store)}
    assert len(reasons) == summary["rejected"], "each reject has one line"
    roots = {
        ("customers", "c1"): "negative-price",
        ("customers", "c11"): "duplicate-customer",
        ("contacts", "k1"): "customer-rejected",
        ("contacts", "k2"): "unknown-customer",
        ("contacts", "k3"): "in-the-future",
        ("contacts", "k4"): "impossible-duration",
        ("contacts", "k5"): "unknown-channel",
        ("turns", "k6/0/person"): "unknown-role",
        ("turns", "k7/0/person"): "blank-text",
        ("turns", "k8/0/person"): "past-the-recording",
        ("turns", "lost/0/written"): "unknown-contact",
        ("outcomes", "c1/churn"): "customer-rejected",
        ("outcomes", "c9/churn"): "before-the-customer",
        ("outcomes", "c10/churn"): "duplicate-outcome",
        ("outcomes", "ghost/churn"): "unknown-customer",
    }
    (fax,) = [
        line for line in quarantine(store) if line["thing"] == "k5" and line["table"] == "contacts"
    ]
    assert fax["detail"].startswith("channel is fax, wanted one of phone")
    assert fax["detail"].endswith("also impossible-duration"), (
        "one line tells everything that is wrong"
    )
    dependents = {("recordings", f"k{n}"): "contact-rejected" for n in range(1, 6)}
    dependents |= {
        ("turns", f"k{n}/{turn}/person"): "contact-rejected" for n in range(1, 6) for turn in (0, 1)
    }
    assert reasons == roots | dependents
    for table, rows in summary["tables"].items():
        assert rows["rows"] - rows["kept"] == sum(1 for at in reasons if at[0] == table)
    hours = summary["rejected_audio_s"]
    assert hours == {"contact-rejected": 15.0}
    assert summary["accepted_audio_s"] + 15.0 == summary["input_audio_s"]


@pytest.mark.parametrize(
    ("table", "spoil", "says"),
    [
        ("contacts", lambda t: t.rename({"started_at": "start"}), "contacts.started_at none"),
        (
            "customers",
            lambda t: t.with_columns(since=pl.col("since").cast(pl.String)),
            "customers.since String",
        ),
        ("customers", lambda t: t.clear(), "customers with 0 of 0 rows"),
    ],
    ids=["missing column", "wrong type", "empty table"],
)
def test_V1_a_broken_table_stops_the_run_and_clean_stays_as_it_was(
    tmp_path: Path, table: str, spoil: Callable[[pl.DataFrame], pl.DataFrame], says: str
) -> None:
    store = AStore(tmp_path).write()
    run(store)
    before = {path.name: path.read_bytes() for path in (tmp_path / "clean").iterdir()}
    path = tmp_path / "tables" / f"{table}.parquet"
    write_table(path, spoil(pl.read_parquet(path)))

    with pytest.raises(ContractBroken) as stopped:
        run(store)
    assert says in str(stopped.value)
    assert stopped.value.suite in str(stopped.value)
    assert stopped.value.expectation.startswith("expect_")
    assert stopped.value.next_step in str(stopped.value)
    assert read_json(tmp_path / "validate.json")["stopped"] == str(stopped.value)
    assert {path.name: path.read_bytes() for path in (tmp_path / "clean").iterdir()} == before


def test_V1_too_many_rejects_mean_the_source_is_broken(tmp_path: Path) -> None:
    store = AStore(tmp_path, calls=20)
    for number in range(8):
        store.audio[f"k{number}"] = a_call(seed=number, channels=1)
    store.write()
    with pytest.raises(ContractBroken, match=r"recordings with 8 of 20 rows rejected \(40%\)"):
        run(store)
    assert len(quarantine(store)) == 8, "the reasons can still be read"
    assert not (tmp_path / "clean").exists()
    assert run(store, ValidationParams(max_rejected_share=0.5))["rejected"] == 8


def test_V1_a_second_run_measures_only_new_audio_and_says_the_same(tmp_path: Path) -> None:
    store = AStore(tmp_path, calls=12)
    store.audio["k1"] = a_call(seed=1, channels=1)
    store.write()
    first = run(store)
    lines = quarantine(store)
    assert len(store.fetched) == 12

    store.fetched.clear()
    later = validate(
        tmp_path, ValidationParams(), read_audio=store.read_audio, now=NOW + timedelta(hours=1)
    )
    assert store.fetched == []
    assert later == first
    assert quarantine(store) == lines, "a reject keeps the time it was first seen"

    store.audio["k2"] = a_call(seed=99)
    store.write()
    run(store)
    assert store.fetched == ["k2"]


def test_V1_audio_that_cannot_be_fetched_is_refused_and_tried_again(tmp_path: Path) -> None:
    store = AStore(tmp_path)
    store.write()
    lost = store.audio.pop("k3")
    assert run(store)["reasons"] == {"recordings/unreadable": 1}
    store.audio["k3"] = lost
    assert run(store)["rejected"] == 0


def test_V1_great_expectations_answers_can_be_read_offline(tmp_path: Path) -> None:
    store = AStore(tmp_path)
    store.audio["k1"] = a_call(seed=1, rate_hz=11025)
    store.contacts[2] = dataclasses.replace(store.contacts[2], customer_id="<b>x")
    store.write()
    run(store)
    answer = read_json(tmp_path / "validation" / "recordings.json")
    rate = next(
        result
        for result in answer["results"]
        if result["expectation_config"]["meta"]["reason"] == "wrong-rate"
    )
    assert rate["expectation_config"]["type"] == "expect_column_values_to_be_in_set"
    assert rate["success"] is False
    assert rate["result"]["unexpected_list"] == [11025]
    page = (tmp_path / "validation" / "index.html").read_text()
    assert "wrong-rate" in page
    assert "measured_rate_hz is 11025" in page
    assert "http" not in page, "nothing is loaded from elsewhere"
    assert "<b>x" not in page, "what a source delivers is text, not markup"


def test_V1_clipping_is_judged_on_the_worse_channel(tmp_path: Path) -> None:
    store = AStore(tmp_path)
    loud = np.stack([np.full(24000, 0.05), np.sign(np.sin(np.arange(24000)))], axis=1).astype(
        "float32"
    )
    loud[:, 0] *= np.sign(np.sin(np.arange(24000)))
    store.audio["k4"] = to_wav_bytes(loud, 8000)
    store.write()
    assert run(store)["reasons"] == {"recordings/clipped": 1}
