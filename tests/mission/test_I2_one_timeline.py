"""I2: one timeline a customer across call, chat, e-mail, social and IVR, whatever zone a time was written in."""

from __future__ import annotations

import csv
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from data import sources
from data.files import read_tables
from data.ingest import ingest
from data.records import CHANNELS
from data.timeline import timeline
from tests.factories import CONTACT_COLUMNS, NOW, an_export

# In the order of the moments, not of the text: each is written in the zone of the system it comes from.
STORY = [
    ("menu", "ivr", "2026-08-04T07:00:00+00:00", "system", "for billing press one"),
    ("mail", "email", "2026-08-04T00:30:00-07:00", "customer", "your menu led nowhere"),
    ("call", "phone", "2026-08-04T10:00:00+02:00", "customer", "i want to cancel my plan"),
    ("talk", "chat", "2026-08-04T08:30:00Z", "customer", "nobody called me back"),
    ("post", "social", "2026-08-04T18:00:00+09:00", "customer", "worst company ever"),
]


@pytest.fixture(scope="module")
def delivered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An export in which C1 went through all five channels, listed in no order, beside the contacts of others."""
    folder = an_export(tmp_path_factory.mktemp("channels"), calls=3, chats=1)
    rows = list(csv.DictReader((folder / "contacts.csv").open(newline="")))
    theirs = [row for row in rows if row["customer_id"] != "C1"]
    (audio,) = [row for row in rows if row["contact_id"] == "call-1"]
    blank = dict.fromkeys(CONTACT_COLUMNS, "")
    for name, channel, at, _, _ in sorted(STORY):
        known = audio if channel == "phone" else blank
        theirs.append(
            {**known, "contact_id": name, "customer_id": "C1", "channel": channel, "started_at": at}
        )
    with (folder / "contacts.csv").open("w", newline="") as handle:
        lines = csv.DictWriter(handle, CONTACT_COLUMNS)
        lines.writeheader()
        lines.writerows(theirs)
    (folder / "transcripts" / "call-1.json").unlink()
    said = {
        name: [{"role": role, "text": text}]
        for name, channel, _, role, text in STORY
        if channel != "phone"
    }
    with (folder / "messages.jsonl").open("a") as handle:
        handle.writelines(
            json.dumps({"contact_id": name, "turns": turns}) + "\n" for name, turns in said.items()
        )
    spoken = {"role": "customer", "text": STORY[2][4], "start_s": 0.5, "end_s": 1.5}
    (folder / "transcripts" / "call.json").write_text(
        json.dumps({"contact_id": "call", "turns": [spoken]})
    )
    store = tmp_path_factory.mktemp("store")
    ingest(sources.read("folder", folder), store, NOW)
    return store


def test_I2_five_channels_come_out_in_order_under_one_customer(delivered: Path) -> None:
    found = timeline(read_tables(delivered / "tables"), "C1")
    assert found["contact_id"].to_list() == [name for name, *_ in STORY]
    assert found["channel"].to_list() == [channel for _, channel, *_ in STORY]
    assert set(found["channel"]) == set(CHANNELS)
    assert found["started_at"][1] == datetime(2026, 8, 4, 7, 30, tzinfo=UTC)
    assert found["started_at"].is_sorted()
    assert found["customer_id"].unique().to_list() == ["C1"]


def test_I2_each_contact_brings_its_words_and_the_call_its_recording(delivered: Path) -> None:
    found = timeline(read_tables(delivered / "tables"), "C1")
    assert found["text"].to_list() == [f"{role}: {text}" for *_, role, text in STORY]
    assert found["has_audio"].to_list() == [False, False, True, False, False]


def test_I2_others_keep_their_own_timelines(delivered: Path) -> None:
    tables = read_tables(delivered / "tables")
    every = timeline(tables)
    assert every.height == tables["contacts"].height
    assert every.select("customer_id", "started_at").equals(
        every.select("customer_id", "started_at").sort("customer_id", "started_at")
    )
    assert (
        set(every.filter(every["customer_id"] != "C1")["contact_id"]) & {name for name, *_ in STORY}
        == set()
    )
