"""Paying itself: a payment that failed, a way or a date to pay."""

from data.labelling.view import ContactView

LABEL = "reason"
EXAMPLES = [
    ({"customer": "my direct debit was declined"}, "payment"),
    ({"customer": "Can I pay in two instalments?"}, "payment"),
    ({"customer": "i want to pay my bill"}, "payment"),
    ({"customer": "i do not want to pay for this, it was never ordered"}, None),
    ({"customer": "why was i charged twice"}, None),
]

_PAY = (
    "(?:to|i|can i|could i|please|and) pay (?:my|the|it|now|by|with|later|in|off|this|some|half|"
    "over|next|[a-z ]+ "
    "now)",
    "make (?:a|the|my) payment",
    "(?:my|the|a|card|last|late|missed|online) payments?",
    "direct debit",
    "bank details",
    "card (?:was|is|got|has been|details|number|expired|payment)",
    "declined",
    "declin(?:e|ing)",
    "bounced",
    "instal?lments?",
    "payment (?:plan|date|method|failed|arrangement|reminder|did)",
    "(?:more|extra|some) time to pay",
    "overdue",
    "autopay",
    "pay later",
    "(?:took|taken|take|taking) (?:the|my|this|that) (?:money|payment|amount)",
    "wrong day",
    "reminder",
    "already paid",
    "payday",
)


def vote(contact: ContactView) -> str | None:
    return (
        "payment"
        if contact.about.affirms(*_PAY)
        or contact.about.mentions("payment did not", "not go through")
        else None
    )
