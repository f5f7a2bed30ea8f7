"""A call whose last words by the agent stop at a word no sentence ends with."""

import re

from data.labelling.view import ContactView

LABEL = "friction_system_hangup"
EXAMPLES = [
    ({"turns": [("customer", "why"), ("agent", "i have checked your account and the")]}, "yes"),
    (
        {"turns": [("customer", "why"), ("agent", "i have checked that"), ("customer", "hello")]},
        None,
    ),
    ({"turns": [("customer", "why"), ("agent", "because it is new")]}, None),
    ({"turns": [("customer", "why"), ("agent", "i will let you")], "channel": "chat"}, None),
]

_UNFINISHED = re.compile(
    r"\b(?:the|a|an|and|or|but|of|to|for|with|in|on|at|by|from|your|our|my|their|is|are|was|were|"
    r"will|can|could|would|have|has|"
    r"had|i|we|because|that's|it's|i'm|i've|i'll|we'll|we've|you'll|so|if|as|been|be)$"
)


def vote(contact: ContactView) -> str | None:
    ends = contact.channel == "phone" and len(contact.roles) > 1 and contact.roles[-1] == "agent"
    return "yes" if ends and _UNFINISHED.search(contact.last.text) else None
