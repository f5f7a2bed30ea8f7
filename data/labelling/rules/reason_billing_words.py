"""A bill, an invoice or a charge the customer questions."""

from data.labelling.view import ContactView

LABEL = "reason"
EXAMPLES = [
    ({"customer": "Hi, I've been charged twice on my last invoice."}, "billing"),
    ({"customer": "why is this month so expensive, i was overcharged"}, "billing"),
    ({"customer": "you took forty pounds more than we agreed"}, "billing"),
    ({"customer": "I would like to pay my bill"}, None),
    ({"customer": "the router does not charge"}, None),
]

_BILL = (
    "(?:my|the|this|last|latest|wrong|first|monthly|your) (?:[a-z']+ )?(?:bill|bills|invoice|"
    "invoices|statement)",
)
_CHARGE = (
    "(?:been|was|were|got|are|being|you|you've) (?:[a-z]+ )?(?:charged|charging|overcharged|"
    "billed|billing)",
    "(?:a|the|this|these|extra|double|unknown|strange) (?:charge|charges|fee|fees)",
    "did you charge",
    "double charged",
    "you (?:took|take|have taken|are taking) (?:[a-z]+ ){1,3}(?:more|extra|too much)",
    "(?:a|my|the|for|full|get|want) refund",
    "(?:more|higher|too much) than (?:we|i|you|what|it|usual|normal)",
    "i(?: a|')m paying",
    "discount",
    "money back",
    "(?:price|bill|it) (?:has |have )?(?:gone|went) up",
    "supposed to (?:be|get|pay) [a-z0-9£ ]+ (?:pounds|off|less)",
    "why am i paying",
    "never agreed to pay",
)
_PAYING = (
    "pay (?:my|the|this|a|off) (?:[a-z]+ )?(?:bill|invoice|statement)",
    "paid (?:my|the) (?:bill|invoice)",
)


def vote(contact: ContactView) -> str | None:
    about = contact.about
    if about.mentions(*_CHARGE) or (about.mentions(*_BILL) and not about.mentions(*_PAYING)):
        return "billing"
    return None
