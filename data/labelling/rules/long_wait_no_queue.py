"""Menus, letters and posts have no queue to wait in."""

from data.labelling.view import ContactView

LABEL = "friction_long_wait"
EXAMPLES = [
    ({"channel": "ivr"}, "no"),
    ({"channel": "email"}, "no"),
    ({"channel": "phone"}, None),
]


def vote(contact: ContactView) -> str | None:
    return "no" if contact.channel in ("ivr", "email", "social") else None
