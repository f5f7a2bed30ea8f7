"""Nothing was heard of this customer for a month, or ever."""

from data.labelling.view import ContactView

LABEL = "friction_repeated_contact"
EXAMPLES = [
    ({"hours_since_last": 900.0}, "no"),
    ({"hours_since_last": None}, "no"),
    ({"hours_since_last": 100.0}, None),
]

_MONTH_H = 30 * 24


def vote(contact: ContactView) -> str | None:
    return "no" if contact.hours_since_last is None or contact.hours_since_last > _MONTH_H else None
