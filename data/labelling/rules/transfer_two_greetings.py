"""Somebody on the agent's side introduces themselves again in the middle."""

import re

LABEL = "friction_transfer"
EXAMPLES = [
    ({"turns": [("agent", "hello, you are speaking with ann"), ("customer", "my bill"), ("agent", "one moment"),
                ("agent", "hello, this is bob in billing, how can i help")]}, "yes"),
    ({"turns": [("agent", "hello, this is ann"), ("customer", "hi"), ("agent", "this is a good plan")]}, None),
    ({"agent": "hello"}, None),
]  # fmt: skip

_GREETING = re.compile(
    r"\b(?:hello|hi|good (?:morning|afternoon|evening)|welcome|speaking|my name is|you(?: are|'re) (?:through to|speaking)|"
    r"you(?:'ve| have) reached|thank(?:s| you) for (?:holding|waiting|calling)|how can i help|this is \w+ (?:from|in|at|with|of))\b"
)


def vote(contact):
    if len(contact.roles) < 3:
        return None
    greetings = [bool(_GREETING.search(turn)) for turn in contact.agent.text.split(" / ")]
    return "yes" if any(greetings[1:-1]) or (len(greetings) > 1 and greetings[-1] and "how can i" in contact.agent.text.rsplit(" / ", 1)[-1]) else None
