"""A contact by phone cannot end in being told to phone; nor one nobody answered in writing."""

from data.labelling.view import ContactView

LABEL = "friction_please_call"
EXAMPLES = [
    ({"channel": "phone"}, "no"),
    ({"channel": "ivr"}, "no"),
    ({"channel": "chat", "agent": "call us"}, None),
]


def vote(contact: ContactView) -> str | None:
    return None if contact.written else "no"
