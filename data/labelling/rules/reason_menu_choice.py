"""The menu entry or form topic that was chosen, where a system wrote it down."""

import re

from data.labelling.view import ContactView

LABEL = "reason"
EXAMPLES = [
    (
        {
            "turns": [("system", "press 1 for bills"), ("customer", "selected billing")],
            "channel": "ivr",
        },
        "billing",
    ),
    (
        {
            "turns": [("system", "how can we help"), ("customer", "chose: technical support")],
            "channel": "ivr",
        },
        "technical",
    ),
    (
        {"turns": [("system", "how can we help"), ("customer", "selected 9")], "channel": "ivr"},
        None,
    ),
    ({"customer": "billing"}, None),
]

_TOPICS = {
    "billing": "bill|bills|billing|invoice|charges",
    "outage": "outage|fault in|network|service status|no service",
    "cancel": "cancel|cancellation|leaving|end|close",
    "upgrade": "upgrade|sales|new service|offers|products",
    "technical": "technical|tech|support|internet|wifi|router|fault",
    "delivery": "delivery|order|orders|parcel|engineer|visit",
    "payment": "payment|payments|pay",
    "complaint": "complaint|complaints|feedback",
    "other": "other|else|general|account details|information|something",
}


def vote(contact: ContactView) -> str | None:
    if "system" not in contact.roles or "customer" not in contact.roles:
        return None
    chosen = re.search(
        r"\b(?:selected|chose|pressed|picked|option|choice|topic)\b[ ,]*([^,/]*)",
        contact.customer.text,
    )
    if not chosen:
        return None
    topics = [
        topic for topic, words in _TOPICS.items() if re.search(rf"\b(?:{words})\b", chosen[1])
    ]
    return topics[0] if len(topics) == 1 else None
