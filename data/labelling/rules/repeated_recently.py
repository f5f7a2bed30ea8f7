"""The same customer was in touch a few days ago and went to the same queue."""

from data.labelling.view import ContactView

LABEL = "friction_repeated_contact"
EXAMPLES = [
    ({"contacts_before": 1, "queue": "billing", "queue_before": "billing"}, "yes"),
    ({"contacts_before": 1, "queue": "billing", "queue_before": "sales"}, None),
    ({"contacts_before": 0, "queue": "billing", "queue_before": "billing"}, None),
    ({}, None),
]


def vote(contact: ContactView) -> str | None:
    return "yes" if contact.contacts_before >= 1 and contact.queue == contact.queue_before else None
