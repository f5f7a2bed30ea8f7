"""The wait as the platform measured it."""

from data.labelling.view import ContactView

LABEL = "friction_long_wait"
EXAMPLES = [
    ({"wait_s": 900.0, "channel": "phone"}, "yes"),
    ({"wait_s": 20.0, "channel": "phone"}, "no"),
    ({"wait_s": 400.0, "channel": "chat"}, "yes"),
    ({"wait_s": None}, None),
]


def vote(contact: ContactView) -> str | None:
    if contact.wait_s is None or contact.channel not in ("phone", "chat"):
        return None
    return "yes" if contact.wait_s > contact.wait_limit_s else "no"
