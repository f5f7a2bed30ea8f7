"""What a rule sees of a contact."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from data.labelling.scheme import LabellingParams
from data.labelling.view import a_contact, views
from data.records import TURNS, Contact, Turn, frame
from tests import factories

START = datetime(2026, 3, 1, 9, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "affirmed"),
    [
        ("please cancel it", True),
        ("don't cancel it", False),
        ("I never said cancel", False),
        ("no, cancel it", True),
        ("I can't log in, cancel it", True),
        ("no cancel fee was agreed", False),
        ("not that one. Cancel it!", True),
        ("don't cancel the line but cancel the alarm", True),
    ],
)
def test_a_denied_word_is_mentioned_but_not_affirmed(text: str, affirmed: bool) -> None:
    contact = a_contact(customer=text)
    assert contact.customer.mentions("cancel")
    assert contact.customer.affirms("cancel") is affirmed


def test_only_whole_words_count() -> None:
    assert not a_contact(customer="the discharge papers").customer.mentions("charge")


def test_fillers_and_stutters_are_taken_out_of_speech() -> None:
    contact = a_contact(customer="i um i i want uh want to to cancel you know cancel it")
    assert contact.customer.text == "i want to cancel it"


def test_a_negation_does_not_reach_into_the_other_turn() -> None:
    contact = a_contact(turns=[("customer", "certainly not"), ("customer", "cancel it")])
    assert contact.customer.affirms("cancel")


def test_history_counts_what_came_before_and_nothing_after() -> None:
    def contact(name: str, customer: str, hours: float) -> Contact:
        return Contact(name, customer, "chat", START + timedelta(hours=hours), queue=name)

    rows = [
        contact("d", "ann", 900),
        contact("b", "ann", 20),
        contact("x", "bob", 21),
        contact("a", "ann", 0),
        contact("c", "ann", 160),
    ]
    seen = {
        view.queue: view
        for view in views(frame("contacts", rows), frame("turns", []), LabellingParams())
    }
    assert {name: view.contacts_before for name, view in seen.items()} == {
        "a": 0,
        "b": 1,
        "c": 2,
        "d": 0,
        "x": 0,
    }
    assert {name: view.hours_since_last for name, view in seen.items()} == {
        "a": None,
        "b": 20.0,
        "c": 140.0,
        "d": 740.0,
        "x": None,
    }
    assert seen["c"].queue_before == "b"


def test_views_come_in_the_order_of_the_contacts() -> None:
    rows = [Contact(name, "ann", "chat", START, queue=name) for name in "cab"]
    assert [
        v.queue for v in views(frame("contacts", rows), frame("turns", []), LabellingParams())
    ] == list("cab")


def test_what_people_wrote_down_wins_over_the_recogniser() -> None:
    contacts = frame(
        "contacts", [Contact("k", "c", "phone", START), Contact("m", "c", "phone", START)]
    )
    turns = [
        Turn("k", 0, "customer", "my bill", 0, 1, "person"),
        Turn("k", 0, "customer", "my pill", 0, 1, "asr"),
        Turn("m", 0, "customer", "hello", 0, 1, "asr"),
    ]
    k, m = views(contacts, frame("turns", turns), LabellingParams())
    assert k.customer.text == "my bill"
    assert m.customer.text == "hello"


def test_a_note_is_what_an_agent_wrote_alone() -> None:
    assert a_contact(agent="caller about a bill").note.text == "caller about a bill"
    assert a_contact(agent="hello", customer="hello").note.text == ""
    assert a_contact(agent="caller about a bill").about.text == "caller about a bill"


def test_long_means_something_else_in_a_chat_than_on_the_phone() -> None:
    params = LabellingParams(long_wait_phone_s=100, long_wait_written_s=50)
    assert a_contact(channel="phone", params=params).wait_limit_s == 100
    assert a_contact(channel="chat", params=params).wait_limit_s == 50


def test_a_contact_without_words_is_silent_on_every_side() -> None:
    contact = a_contact()
    assert contact.roles == ()
    assert len(contact.customer) == len(contact.last) == 0


def test_contacts_before_are_those_of_the_same_customer_whatever_the_ids() -> None:
    """Ids of different lengths: their groups come in another order than the sorted rows."""
    rng = np.random.default_rng(1)
    started = sorted(START + timedelta(days=float(day)) for day in rng.uniform(0, 60, 300))
    contacts = [
        factories.a_contact(f"k{n}", f"C{rng.integers(40)}", started_at=started[number])
        for n, number in enumerate(rng.permutation(300))
    ]
    week = timedelta(days=LabellingParams().repeat_days)
    expected = [
        sum(
            other.customer_id == one.customer_id
            and one.started_at - week <= other.started_at < one.started_at
            for other in contacts
        )
        for one in contacts
    ]
    seen = views(frame("contacts", contacts), pl.DataFrame(schema=TURNS), LabellingParams())
    assert [view.contacts_before for view in seen] == expected
