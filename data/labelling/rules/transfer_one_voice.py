"""Turns go back and forth without a break, or nobody was there to pass anyone on."""

from itertools import pairwise

from data.labelling.view import ContactView

LABEL = "friction_transfer"
EXAMPLES = [
    (
        {
            "turns": [
                ("agent", "hi"),
                ("customer", "my bill"),
                ("agent", "sure"),
                ("customer", "thanks"),
            ]
        },
        "no",
    ),
    ({"channel": "ivr", "system": "press 1"}, "no"),
    (
        {
            "turns": [
                ("agent", "hi"),
                ("customer", "my bill"),
                ("agent", "one moment"),
                ("agent", "hello, bob here"),
            ]
        },
        None,
    ),
    ({"agent": "spoke to customer, transferred to second line"}, None),
]


def vote(contact: ContactView) -> str | None:
    if contact.channel == "ivr":
        return "no"
    turns = contact.roles
    flowing = len(turns) > 2 and all(role != next_role for role, next_role in pairwise(turns))
    return "no" if flowing else None
