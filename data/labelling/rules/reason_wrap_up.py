"""The wrap-up code an agent chose after the contact, where it names a topic."""

import re

from data.labelling.view import ContactView

LABEL = "reason"
EXAMPLES = [
    ({"disposition": "billing/done"}, "billing"),
    ({"disposition": "CANCEL_REQUEST"}, "cancel"),
    ({"disposition": "ANSWERED"}, None),
    ({"disposition": "order and payment"}, None),
]

_CODES = {
    "billing": "bill|bills|billing|invoice|charge",
    "outage": "outage|network",
    "cancel": "cancel|cancellation|churn|leaver",
    "upgrade": "upgrade|sale|sales|upsell",
    "technical": "technical|tech|fault|support",
    "delivery": "delivery|order|logistics",
    "payment": "payment|payments|pay|collections",
    "complaint": "complaint|complaints",
    "other": "other|general|enquiry|misc",
}


def vote(contact: ContactView) -> str | None:
    code = re.sub(r"[^a-z]+", " ", contact.disposition.lower())
    topics = [reason for reason, words in _CODES.items() if re.search(rf"\b(?:{words})\b", code)]
    return topics[0] if len(topics) == 1 else None
