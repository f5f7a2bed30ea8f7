"""Menus, letters and posts have no queue to wait in."""

LABEL = "friction_long_wait"
EXAMPLES = [
    ({"channel": "ivr"}, "no"),
    ({"channel": "email"}, "no"),
    ({"channel": "phone"}, None),
]


def vote(contact):
    return "no" if contact.channel in ("ivr", "email", "social") else None
