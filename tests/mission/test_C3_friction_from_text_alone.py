"""C3: the two stories of article 002, told by their words: no queue, no wrap-up code, no waits are
known.
"""

from __future__ import annotations

from datetime import UTC, date, datetime

import polars as pl
import pytest

from data.features.contact_marks import FRICTIONS
from data.features.features import FeatureParams, features
from data.labelling import LabellingParams, label
from data.labelling.complete import ReadingParams, merge_with_reader
from data.records import LABELS, frame
from tests.factories import a_contact, a_customer, a_turn, an_outcome
from tests.reader_helpers import a_centre, a_reader

DAY = date(2026, 6, 1)
Tables = tuple[pl.DataFrame, pl.DataFrame]  # contacts and turns
# Retold in our own words. In the first a menu has no place for the caller, a line is cut, and a
# person hands them on;
# in the second the chat cannot help and sends the customer to the telephone, where the tale begins
# anew.
STORIES = {
    "menu": [
        (
            "ivr",
            [
                ("system", "Thanks for calling. For sales press one, for invoices press two."),
                ("customer", "three"),
                ("system", "That is not a valid choice. Goodbye."),
            ],
        ),
        (
            "ivr",
            [
                ("system", "Thanks for calling. For sales press one, for invoices press two."),
                ("customer", "zero"),
                ("system", "One moment, we are connecting you to an agent."),
            ],
        ),
        (
            "phone",
            [
                ("agent", "good morning, you are speaking to nina, how may i help"),
                ("customer", "my internet is down and your menu sent me nowhere"),
                ("agent", "let me put you through to the technical team"),
                ("agent", "hello, technical team, this is omar, how can i help"),
                ("customer", "the internet is down, as i just told your colleague"),
                ("agent", "i'm afraid i can't fix that today"),
            ],
        ),
        (
            "chat",
            [
                ("customer", "hi, the internet is still down"),
                ("agent", "let me have a look at"),
                ("system", "The chat was ended by the system."),
            ],
        ),
    ],
    "chat": [
        (
            "chat",
            [
                ("customer", "hello, i want to change to a bigger plan"),
                ("agent", "sorry, that can't be done in chat, you will have to call us"),
                ("customer", "really? that is annoying"),
            ],
        ),
        (
            "phone",
            [
                ("agent", "good afternoon, how can i help you"),
                (
                    "customer",
                    "i have already called twice about a bigger plan and it is still not done",
                ),
                ("agent", "i understand your frustration, unfortunately i'm not able to do that"),
                ("customer", "this is ridiculous"),
            ],
        ),
    ],
    "happy": [
        (
            "chat",
            [
                ("customer", "hi, when is my bill due"),
                ("agent", "it's due on the fifth, is there anything else"),
                ("customer", "no, perfect, thank you so much"),
            ],
        ),
    ],
}
TOLD = {
    "menu0": {"ivr_dead_end"},
    "menu1": {"pressed_zero"},
    "menu2": {"transfer", "unresolved"},
    "menu3": {"system_hangup"},
    "chat0": {"please_call"},
    "chat1": {"repeated_contact", "unresolved"},
    "happy0": set(),
}


@pytest.fixture(scope="module")
def stories() -> Tables:
    """Contacts and turns of the stories, a contact a day."""
    contacts, turns = [], []
    for who, story in STORIES.items():
        for n, (channel, messages) in enumerate(story):
            began = datetime(2026, 5, 20 + n, 9, tzinfo=UTC)
            contacts.append(
                a_contact(f"{who}{n}", who, channel=channel, started_at=began, queue=None)
            )
            turns += [
                a_turn(f"{who}{n}", k, role, text, origin="written")
                for k, (role, text) in enumerate(messages)
            ]
    return frame("contacts", contacts), frame("turns", turns)


@pytest.fixture(scope="module")
def labels(stories: Tables) -> pl.DataFrame:
    """What rules and reader make of the words, among the written contacts of a centre, stripped of
    all but channel.
    """
    contacts, turns = stories
    centre, centre_turns, _ = a_centre()
    bare = [
        table.with_columns(
            pl.lit(None, pl.Float64).alias("wait_s"),
            *(pl.lit(None, pl.String).alias(name) for name in ("queue", "disposition", "agent_id")),
        )
        for table in (contacts, centre)
    ]
    rules = label(pl.concat(bare), pl.concat([turns, centre_turns]), LabellingParams())
    own = contacts.select("contact_id")
    read = a_reader().beliefs(contacts, turns)
    labels, beliefs = (
        part.join(own, on="contact_id", how="semi") for part in (rules.labels, rules.beliefs)
    )
    return merge_with_reader(labels, beliefs, read, params=ReadingParams())


def raised(labels: pl.DataFrame, contact: str) -> set[str]:
    raised_labels = labels.filter((pl.col("contact_id") == contact) & (pl.col("value") == "yes"))
    return {name.removeprefix("friction_") for name in raised_labels["label"]}


@pytest.mark.parametrize("contact", list(TOLD))
def test_C3_from_text_alone_each_contact_raises_the_frictions_it_tells_of(
    labels: pl.DataFrame, contact: str
) -> None:
    assert labels.schema == LABELS
    assert TOLD[contact] <= raised(labels, contact)
    # What words alone decide.
    named = {
        "ivr_dead_end",
        "pressed_zero",
        "system_hangup",
        "please_call",
        "transfer",
    }
    assert raised(labels, contact) & named == TOLD[contact] & named


def test_C3_the_reader_by_itself_sees_the_zero_the_hang_up_and_please_call(stories: Tables) -> None:
    contacts, turns = stories
    read = (
        a_reader()
        .beliefs(contacts, turns)
        .filter((pl.col("value") == "yes") & (pl.col("probability") > 0.5))
    )
    alone = {contact: raised(read, contact) for contact in TOLD}
    for contact in ("menu1", "menu3", "chat0"):
        assert TOLD[contact] <= alone[contact], contact
    assert not alone["happy0"] & {
        "ivr_dead_end",
        "system_hangup",
        "please_call",
        "transfer",
        "repeated_contact",
    }


def test_C3_from_text_alone_the_worst_episode_is_the_longer_story(
    labels: pl.DataFrame, stories: Tables
) -> None:
    contacts, _ = stories
    tables = {
        "customers": frame("customers", [a_customer(who) for who in STORIES]),
        "contacts": contacts,
        "outcomes": frame(
            "outcomes",
            [an_outcome(who, False, on=None, observed_until=date(2026, 12, 31)) for who in STORIES],
        ),
    }
    rows = {
        row["customer_id"]: row
        for row in features(tables, labels, [DAY], params=FeatureParams()).to_dicts()
    }
    assert (
        rows["menu"]["worst_episode"]
        > rows["chat"]["worst_episode"]
        > rows["happy"]["worst_episode"]
    )
    flags = {
        who: {name for name in FRICTIONS if row[f"{name}_30d"] > 0.5} for who, row in rows.items()
    }
    assert flags["menu"] >= {
        "friction_ivr_dead_end",
        "friction_pressed_zero",
        "friction_transfer",
        "friction_system_hangup",
    }
    assert flags["chat"] >= {"friction_please_call", "friction_repeated_contact"}
    assert not flags["happy"]
