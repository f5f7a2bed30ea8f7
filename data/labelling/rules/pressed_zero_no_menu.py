"""No menu took part: nothing to press."""

from data.labelling.view import ContactView

LABEL = "friction_pressed_zero"
EXAMPLES = [
    ({"customer": "hello", "agent": "hello", "channel": "phone"}, "no"),
    ({"system": "press 1", "channel": "ivr"}, None),
    ({"channel": "phone"}, None),
]


def vote(contact: ContactView) -> str | None:
    return (
        "no"
        if contact.roles and "system" not in contact.roles and contact.channel != "ivr"
        else None
    )
