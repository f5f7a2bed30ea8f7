"""Somebody on the agent's side introduces themselves again in the middle."""

import re

from data.labelling.view import ContactView

LABEL = "friction_transfer"
EXAMPLES = [
    (
        {
            "turns": [
                ("agent", "hello, you are speaking with ann"),
                ("customer", "my bill"),
                ("agent", "one moment"),
                ("agent", "hello, this is bob in billing, how can i help"),
            ]
        },
        "yes",
    ),
    (
        {
            "turns": [
                ("agent", "hello, this is ann"),
                ("customer", "hi"),
                ("agent", "this is a good plan"),
            ]
        },
        None,
    ),
    ({"agent": "hello"}, None),
]

_GREETING = re.compile(
    r"\b(?:hello|hi|good (?:morning|afternoon|evening)|welcome|speaking|my name is|"
    r"you(?: are|'re) (?:through to|speaking)|you(?:'ve| have) reached|thank(?:s| you) for "
    r"(?:holding|waiting|calling)|"
    r"how can i help|this is \w+ (?:from|in|at|with|of))\b"
)


def vote(contact: ContactView) -> str | None:
    if len(contact.roles) < 3:
        return None
    turns = contact.agent.text.split(" / ")
    again = any(_GREETING.search(turn) for turn in turns[1:-1])
    # else it may be a goodbye
    last = len(turns) > 1 and _GREETING.search(turns[-1]) and "how can i" in turns[-1]
    return "yes" if again or last else None
