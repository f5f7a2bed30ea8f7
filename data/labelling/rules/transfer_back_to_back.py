"""The agent's side speaks twice in a row in the middle of a call: two people, or a hold."""

from itertools import pairwise

from data.labelling.view import ContactView

LABEL = "friction_transfer"
EXAMPLES = [
    (
        {
            "turns": [
                ("agent", "hi"),
                ("customer", "bill"),
                ("agent", "wait"),
                ("agent", "bob"),
                ("customer", "y"),
            ]
        },
        "yes",
    ),
    (
        {
            "turns": [
                ("agent", "hi"),
                ("customer", "my bill"),
                ("agent", "sure"),
                ("customer", "thanks"),
            ]
        },
        None,
    ),
    ({"turns": [("agent", "hi"), ("agent", "hello")], "channel": "chat"}, None),
]


def vote(contact: ContactView) -> str | None:
    if contact.channel != "phone":
        return None
    inner = contact.roles[1:-1]
    return "yes" if any(pair == ("agent", "agent") for pair in pairwise(inner)) else None
