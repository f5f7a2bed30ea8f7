"""The wrap-up code or the platform's disposition says the contact broke off."""

import re

from data.labelling.view import ContactView

LABEL = "friction_system_hangup"
EXAMPLES = [
    ({"disposition": "billing/dropped"}, "yes"),
    ({"disposition": "done"}, None),
    ({"disposition": ""}, None),
]

_CODE = re.compile(r"\b(?:dropped|disconnected|hang ?up|cut off|line lost|failed|congestion)\b")


def vote(contact: ContactView) -> str | None:
    return "yes" if _CODE.search(re.sub(r"[^a-z]+", " ", contact.disposition.lower())) else None
