"""I2: one timeline a customer across call, chat, e-mail, social and IVR, in UTC."""

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

# In the order of the moments, not of the text: each is written in the zone of the system it comes
# from.
STORY = [
    ("menu", "ivr", "2026-08-04T07:00:00+00:00", "system", "for billing press one"),
    ("mail", "email", "2026-08-04T00:30:00-07:00", "customer", "your menu led nowhere"),
    ("call", "phone", "2026-08-04T10:00:00+02:00", "customer", "i want to cancel my plan"),
    ("talk", "chat", "2026-08-04T08:30:00Z", "customer", "nobody called me back"),
    ("post", "social", "2026-08-04T18:00:00+09:00", "customer", "worst company ever"),
]


@pytest.fixture(scope="module")
def delivered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An export in which C1 used all five channels, unordered, among the contacts of others."""
    folder = an_export(tmp_path_factory.mktemp("channels"), calls=3, chats=1)
    rows = list(csv.DictReader((folder / "contacts.csv").open(newline="")))
    others = [row for row in rows if row["customer_id"] != "C1"]
    (audio,) = [row for row in rows if row["contact_id"] == "call-1"]
    blank = dict.fromkeys(CONTACT_COLUMNS, "")
    for name, channel, at, _, _ in sorted(STORY):
        known_audio = audio if channel == "phone" else blank
        others.append(
            {
                **known_audio,
                "contact_id": name,
                "customer_id": "C1",
                "channel": channel,
                "started_at": at,
            }
        )
    with (folder / "contacts.csv").open("w", newline="") as handle:
        lines = csv.DictWriter(handle, CONTACT_COLUMNS)
        lines.writeheader()
        lines.writerows(others)
    (folder / "transcripts" / "call-1.json").unlink()
    texts = {
        name: [{"role": role, "text": text}]
        for name, channel, _, role, text in STORY
        if channel != "phone"
    }
    with (folder / "messages.jsonl").open("a") as handle:
        handle.writelines(
            json.dumps({"contact_id": name, "turns": turns}) + "\n" for name, turns in texts.items()
        )
    spoken = {"role": "customer", "text": STORY[2][4], "start_s": 0.5, "end_s": 1.5}
    (folder / "transcripts" / "call.json").write_text(
        json.dumps({"contact_id": "call", "turns": [spoken]})
    )
    store = tmp_path_factory.mktemp("store")
    ingest(sources.read("folder", folder), store, NOW)
    return store


def test_I2_five_channels_come_out_in_order_under_one_customer(delivered: Path) -> None:
    rows = timeline(read_tables(delivered / "tables"), "C1")
    assert rows["contact_id"].to_list() == [name for name, *_ in STORY]
    assert rows["channel"].to_list() == [channel for _, channel, *_ in STORY]
    assert set(rows["channel"]) == set(CHANNELS)
    assert rows["started_at"][1] == datetime(2026, 8, 4, 7, 30, tzinfo=UTC)
    assert rows["started_at"].is_sorted()
    assert rows["customer_id"].unique().to_list() == ["C1"]


def test_I2_each_contact_brings_its_words_and_the_call_its_recording(delivered: Path) -> None:
    rows = timeline(read_tables(delivered / "tables"), "C1")
    assert rows["text"].to_list() == [f"{role}: {text}" for *_, role, text in STORY]
    assert rows["has_audio"].to_list() == [False, False, True, False, False]


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
