"""The same customer was in touch within the last two days, in whatever queue or channel."""

from data.labelling.view import ContactView

LABEL = "friction_repeated_contact"
EXAMPLES = [
    ({"hours_since_last": 20.0}, "yes"),
    ({"hours_since_last": 80.0}, None),
    ({"hours_since_last": None}, None),
]


def vote(contact: ContactView) -> str | None:
    return (
        "yes" if contact.hours_since_last is not None and contact.hours_since_last <= 48 else None
    )
