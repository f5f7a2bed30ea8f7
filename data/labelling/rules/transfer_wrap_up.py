"""The wrap-up code says the contact was handed on."""

import re

from data.labelling.view import ContactView

LABEL = "friction_transfer"
EXAMPLES = [
    ({"disposition": "billing/transferred"}, "yes"),
    ({"disposition": "ANSWERED"}, None),
    ({"disposition": ""}, None),
]

_CODE = re.compile(r"\b(?:transfer(?:red)?|handed? (?:over|on)|forwarded|escalated to)\b")


def vote(contact: ContactView) -> str | None:
    return "yes" if _CODE.search(re.sub(r"[^a-z]+", " ", contact.disposition.lower())) else None
