"""C3: friction as features: two customers' stories, told by their texts alone, raise the right
flags.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from data.features.contact_marks import FRICTIONS
from data.features.features import FeatureParams, features
from data.labelling import label
from data.records import frame
from tests.factories import a_contact, a_customer, a_turn, an_outcome

DAY = date(2026, 6, 1)
MENU = "Welcome. For billing press one, for faults press two."
STORIES = {
    "menu": [
        (
            "ivr",
            [
                ("system", MENU),
                ("customer", "two"),
                ("system", "This option is not available. Returning to the main menu."),
                ("customer", "two"),
                ("system", "This option is not available. Goodbye."),
            ],
        ),
        (
            "ivr",
            [("system", MENU), ("customer", "zero"), ("system", "Connecting you to an agent.")],
        ),
        (
            "chat",
            [
                ("customer", "hello, my internet is down again"),
                ("agent", "let me check that for you"),
                ("system", "The chat was closed by the system."),
            ],
        ),
    ],
    "chat": [
        (
            "chat",
            [
                ("customer", "hi, I want to change my plan"),
                ("agent", "sorry, we can't do that in chat, you will have to call us"),
                ("customer", "seriously? fine, bye"),
            ],
        ),
    ],
    "happy": [
        (
            "chat",
            [
                ("customer", "hi, when is my bill due"),
                ("agent", "on the fifth, anything else?"),
                ("customer", "no thanks, perfect, that was all"),
            ],
        ),
    ],
}


@pytest.fixture(scope="module")
def features_of() -> dict[str, dict[str, Any]]:
    contacts, turns = [], []
    for who, story in STORIES.items():
        for n, (channel, messages) in enumerate(story):
            began = datetime(2026, 5, 20 + n, 9, tzinfo=UTC) + timedelta(hours=n)
            contacts.append(
                a_contact(
                    f"{who}{n}",
                    who,
                    channel=channel,
                    started_at=began,
                    wait_s=20.0,
                    disposition=None,
                )
            )
            turns += [
                a_turn(f"{who}{n}", k, role, text, start_s=None, end_s=None, origin="written")
                for k, (role, text) in enumerate(messages)
            ]
    stays = [
        an_outcome(who, happened=False, on=None, observed_until=date(2026, 12, 31))
        for who in STORIES
    ]
    tables = {
        "customers": frame("customers", [a_customer(who) for who in STORIES]),
        "contacts": frame("contacts", contacts),
        "outcomes": frame("outcomes", stays),
    }
    labels = label(tables["contacts"], frame("turns", turns)).labels
    rows = features(tables, labels, [DAY], params=FeatureParams()).to_dicts()
    return {row["customer_id"]: row for row in rows}


def raised(row: dict[str, Any]) -> set[str]:
    return {name for name in FRICTIONS if row[f"{name}_30d"] > 0.5}


def test_C3_a_dead_end_pressing_zero_and_a_hang_up_are_seen(
    features_of: dict[str, dict[str, Any]],
) -> None:
    assert raised(features_of["menu"]) >= {
        "friction_ivr_dead_end",
        "friction_pressed_zero",
        "friction_system_hangup",
    }
    assert "friction_please_call" not in raised(features_of["menu"])


def test_C3_a_chat_that_ends_in_please_call_is_seen(features_of: dict[str, dict[str, Any]]) -> None:
    assert "friction_please_call" in raised(features_of["chat"])
    assert not raised(features_of["chat"]) & {
        "friction_ivr_dead_end",
        "friction_pressed_zero",
        "friction_system_hangup",
    }


def test_C3_a_good_chat_raises_nothing(features_of: dict[str, dict[str, Any]]) -> None:
    assert raised(features_of["happy"]) == set()
    assert (
        features_of["menu"]["worst_episode"]
        > features_of["chat"]["worst_episode"]
        > features_of["happy"]["worst_episode"]
    )
