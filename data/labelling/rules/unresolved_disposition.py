"""The wrap-up code of the agent or the platform, where it says how the contact ended."""

import re

from data.labelling.view import ContactView

LABEL = "friction_unresolved"
EXAMPLES = [
    ({"disposition": "RESOLVED"}, "no"),
    ({"disposition": "Callback promised"}, "yes"),
    ({"disposition": "not resolved"}, "yes"),
    ({"disposition": "ANSWERED"}, None),
    ({"disposition": ""}, None),
]

_OPEN = (
    r"unresolved|not (?:resolved|solved)|open|pending|call ?back|escalat\w*|follow ?up|ticket|"
    r"failed|abandon\w*|"
    r"no answer|busy"
)
_DONE = r"resolved|solved|closed|complete\w*|fixed|success\w*|done"


def vote(contact: ContactView) -> str | None:
    code = re.sub(r"[^a-z]+", " ", contact.disposition.lower())
    if re.search(rf"\b(?:{_OPEN})\b", code):
        return "yes"
    return "no" if re.search(rf"\b(?:{_DONE})\b", code) else None
