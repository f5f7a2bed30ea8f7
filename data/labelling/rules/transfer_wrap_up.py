"""The wrap-up code says the contact was handed on."""

import re

LABEL = "friction_transfer"
EXAMPLES = [
    ({"disposition": "billing/transferred"}, "yes"),
    ({"disposition": "ANSWERED"}, None),
    ({"disposition": ""}, None),
]

_CODE = re.compile(r"\b(?:transfer(?:red)?|handed? (?:over|on)|forwarded|escalated to)\b")


def vote(contact):
    return "yes" if _CODE.search(re.sub(r"[^a-z]+", " ", contact.disposition.lower())) else None
