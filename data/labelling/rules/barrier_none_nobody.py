"""No agent took part, so none was kept from helping."""

from data.labelling.view import ContactView

LABEL = "barrier"
EXAMPLES = [
    ({"system": "press 1", "channel": "ivr"}, "none"),
    ({"agent": "hello"}, None),
    ({"channel": "phone"}, None),
]


def vote(contact: ContactView) -> str | None:
    return "none" if contact.roles and "agent" not in contact.roles else None
