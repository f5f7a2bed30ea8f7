"""One timeline a customer, over every channel."""

from pathlib import Path

from data import sources
from data.files import read_tables
from data.ingest import ingest
from data.records import frame
from data.timeline import timeline
from tests.factories import NOW, a_contact, a_turn, an_export


def test_contacts_of_all_channels_come_in_order_of_time(tmp_path: Path) -> None:
    ingest(
        sources.read("auto", an_export(tmp_path / "in", calls=4, chats=4)), tmp_path / "store", NOW
    )
    row = timeline(read_tables(tmp_path / "store" / "tables"), "C2")
    assert row["contact_id"].to_list() == ["call-2", "chat-2", "call-4", "chat-4"]
    assert row["has_audio"].to_list() == [True, False, True, False]
    assert row["started_at"].is_sorted()
    assert row["customer_text"].to_list() == ["i want to cancel my plan"] * 4
    assert row["text"][0].splitlines()[0] == "agent: how can i help"


def test_every_customer_has_a_timeline_and_no_contact_is_lost(tmp_path: Path) -> None:
    ingest(
        sources.read("auto", an_export(tmp_path / "in", calls=4, chats=4)), tmp_path / "store", NOW
    )
    rows = timeline(read_tables(tmp_path / "store" / "tables"))
    assert rows["customer_id"].to_list() == ["C1"] * 4 + ["C2"] * 4


def test_a_person_s_words_are_preferred_to_a_machine_s_and_silence_is_null() -> None:
    turns = [
        a_turn("c1", 0, text="hallo", origin="asr"),
        a_turn("c1", 0, text="hello", origin="person"),
    ]
    turns.append(a_turn("c2", 0, text="only heard", origin="asr"))
    tables = {
        "contacts": frame("contacts", [a_contact(name) for name in ("c1", "c2", "c3")]),
        "turns": frame("turns", turns),
        "recordings": frame("recordings", []),
    }
    assert timeline(tables)["customer_text"].to_list() == ["hello", "only heard", None]
    assert timeline(tables)["turns"].to_list() == [1, 1, 0]
