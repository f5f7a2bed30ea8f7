"""From contacts and turns to label rows."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import polars as pl

from data.labelling import SCHEME, LabellingParams, label
from data.records import LABELS, Contact, Turn, frame

START = datetime(2026, 3, 1, 9, tzinfo=UTC)


def a_centre(size: int = 40) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Contacts about bills and about parcels, by turns."""
    contacts = [
        Contact(f"k{n}", f"c{n}", "chat", START + timedelta(hours=n), 60.0, 5.0)
        for n in range(size)
    ]
    messages = (
        "My bill is wrong, you charged me twice.",
        "Where is my parcel? The courier never came.",
    )
    turns = [Turn(f"k{n}", 0, "customer", messages[n % 2], origin="written") for n in range(size)]
    return frame("contacts", contacts), frame("turns", turns)


def test_each_contact_has_at_most_one_value_a_label_and_only_known_ones() -> None:
    labels = label(*a_centre()).labels
    assert labels.schema == LABELS
    assert labels.select("contact_id", "label").is_unique().all()
    for name, values in SCHEME.items():
        assert set(labels.filter(label=name)["value"]) <= set(values)
    assert labels["probability"].is_between(0.5, 1.0).all()


def test_reasons_follow_the_words() -> None:
    reasons = label(*a_centre()).labels.filter(label="reason")
    assert {row["value"] for row in reasons.to_dicts() if int(row["contact_id"][1:]) % 2} == {
        "delivery"
    }
    assert {row["value"] for row in reasons.to_dicts() if not int(row["contact_id"][1:]) % 2} == {
        "billing"
    }


def test_a_contact_no_rule_understood_has_no_reason() -> None:
    contacts, turns = a_centre()
    strange = Turn("k0", 0, "customer", "Lorem ipsum dolor.", origin="written")
    passed_on = Turn("k1", 1, "agent", "Let me put you through to the courier.", origin="written")
    turns = turns.filter(turns["contact_id"] != "k0").vstack(frame("turns", [strange, passed_on]))
    labels = label(contacts, turns).labels.filter(contact_id="k0")
    assert "reason" not in labels["label"].to_list()
    assert labels.filter(label="friction_transfer")["value"].to_list() == ["no"], (
        "no sign of it in what could be read"
    )


def test_an_untranscribed_call_gets_only_what_rules_know_without_words() -> None:
    contacts, turns = a_centre()
    call = frame(
        "contacts", [Contact("call", "c0", "phone", START + timedelta(days=90), 60.0, 5000.0)]
    )
    labels = label(contacts.vstack(call), turns).labels.filter(contact_id="call")
    values = dict(zip(labels["label"], labels["value"], strict=True))
    assert values["friction_long_wait"] == "yes"
    assert not {"reason", "barrier", "friction_unresolved", "friction_transfer", "sentiment"} & set(
        values
    )


def test_nothing_to_label_is_no_error() -> None:
    contacts, turns = a_centre()
    assert label(contacts.clear(), turns.clear()).labels.schema == LABELS
    silent = label(contacts, turns.clear())
    assert "reason" not in silent.labels["label"].to_list()
    assert silent.analysis["readable"] == 0


def test_probabilities_below_the_limit_give_no_label() -> None:
    contacts, turns = a_centre()
    few = label(contacts, turns, LabellingParams(min_probability=0.999)).labels
    assert len(few) < len(label(contacts, turns).labels)


def test_the_same_contacts_get_the_same_labels_and_progress_reaches_the_end() -> None:
    seen = []
    contacts, turns = a_centre()
    first = label(contacts, turns, progress=lambda done, total: seen.append((done, total)))
    assert first.labels.equals(label(contacts, turns).labels)
    assert seen[-1] == (40, 40)
