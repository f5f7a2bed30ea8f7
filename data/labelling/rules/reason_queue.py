"""The queue the contact was routed to: someone or something already sorted it."""

import re

from data.labelling.view import ContactView

LABEL = "reason"
EXAMPLES = [
    ({"queue": "Billing"}, "billing"),
    ({"queue": "retention_team"}, "cancel"),
    ({"queue": "tech-support"}, "technical"),
    ({"queue": "support"}, None),
    ({"queue": ""}, None),
]

_QUEUES = {
    "billing": "billing|bills|invoices?",
    "cancel": "retentions?|cancellations?|loyalty|save",
    "upgrade": "sales|upgrades?",
    "technical": "tech|technical|second line|helpdesk",
    "delivery": "delivery|logistics|orders|field",
    "payment": "payments?|collections",
    "complaint": "complaints?|escalations?",
    "outage": "outages?|network",
}


def vote(contact: ContactView) -> str | None:
    words = re.sub(r"[^a-z]+", " ", contact.queue.lower())
    topics = [
        reason for reason, pattern in _QUEUES.items() if re.search(rf"\b(?:{pattern})\b", words)
    ]
    return topics[0] if len(topics) == 1 else None
