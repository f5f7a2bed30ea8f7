"""Trouble piles up: a long wait after earlier contacts a few days ago."""

from data.labelling.view import ContactView

LABEL = "sentiment"
EXAMPLES = [
    ({"wait_s": 1200.0, "contacts_before": 1, "hours_since_last": 90.0}, "negative"),
    ({"wait_s": 1200.0, "contacts_before": 0}, None),
    ({"contacts_before": 0, "wait_s": 5.0}, None),
]


def vote(contact: ContactView) -> str | None:
    waited = contact.wait_s is not None and contact.wait_s > contact.wait_limit_s
    return "negative" if waited and contact.contacts_before else None
