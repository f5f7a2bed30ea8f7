"""The customer explains the matter from the start and says nothing of earlier contacts."""

from data.labelling.view import ContactView

LABEL = "friction_repeated_contact"
EXAMPLES = [
    ({"customer": "hello, i would like to change my address please"}, "no"),
    ({"customer": "hello, my internet is still down, i called before"}, None),
    ({"customer": "selected 2"}, None),
]

_PAST = (
    "again",
    "already",
    "still",
    "time",
    "before",
    "last",
    "yesterday",
    "told",
    "promised",
    "back",
    "called",
    "spoke",
    "wrote",
    "rang",
    "phoned",
    "previous",
    "chasing",
    "explained",
    "colleague",
    "ago",
    "twice",
    "repeat(?:ed)?",
    "second",
    "third",
    "fourth",
    "follow(?:ing)?",
    "once more",
    "another",
)


def vote(contact: ContactView) -> str | None:
    return "no" if len(contact.customer) >= 8 and not contact.customer.mentions(*_PAST) else None
