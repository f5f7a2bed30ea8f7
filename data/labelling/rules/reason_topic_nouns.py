"""The topic whose nouns the customer uses most over the whole contact, if one is ahead."""

import re
from collections import Counter

from data.labelling.view import ContactView

LABEL = "reason"
EXAMPLES = [
    ({"customer": "the invoice says fifty, the charge on my statement is sixty"}, "billing"),
    (
        {
            "turns": [
                ("customer", "hello"),
                ("agent", "go on"),
                ("customer", "the driver has my parcel"),
            ]
        },
        "delivery",
    ),
    ({"customer": "the parcel and the invoice"}, None),
    ({"customer": "hello, good morning"}, None),
]

_NOUNS = {
    "billing": "bill bills invoice invoices charge charges charged overcharged statement refund fee "
    "discount tariff",
    "outage": "outage area street neighbours neighbour road postcode village blackout",
    "cancel": "cancel cancelling cancellation terminate leaving competitor notice",
    "upgrade": "upgrade upgrading package offer faster bigger add",
    "technical": "wifi router modem error box picture light password app slow restart cable "
    "megabits screen",
    "delivery": "delivery parcel courier driver order ordered engineer technician delivered "
    "tracking arrived",
    "payment": "payment pay debit declined instalments overdue paid bank reminder",
    "complaint": "complaint complain manager unacceptable rude ombudsman compensation supervisor",
    "other": "address surname hours email name copy moved moving",
}
_TOPIC = {noun: topic for topic, nouns in _NOUNS.items() for noun in nouns.split()}


def vote(contact: ContactView) -> str | None:
    nouns = Counter(
        _TOPIC[word]
        for word in re.findall(r"[a-z]+", f"{contact.customer.text} {contact.note.text}")
        if word in _TOPIC
    )
    if not nouns:
        return None
    (first, most), *rest = nouns.most_common(2)
    return first if not rest or most > rest[0][1] else None
