"""The customer's last words are into a dead line: "hello? are you there?" """

from data.labelling.view import ContactView

LABEL = "friction_system_hangup"
EXAMPLES = [
    ({"turns": [("agent", "let me just"), ("customer", "hello? are you still there?")]}, "yes"),
    ({"turns": [("agent", "so the"), ("customer", "hello hello i can't hear you")]}, "yes"),
    ({"turns": [("customer", "hello, are you open"), ("agent", "yes")]}, None),
    ({"turns": [("agent", "done"), ("customer", "thank you, bye")]}, None),
]

_DEAD = (
    "(?:are you|anyone|anybody|is anybody|is anyone|you still|still) (?:still )?there",
    "can you hear me",
    "(?:can't|cannot) hear (?:you|anything)",
    "hello hello",
    "(?:gone|went) (?:dead|quiet|silent)",
    "cut (?:me )?off",
    "hung up",
    "lost (?:you|them|the line|him|her)",
    "line (?:is|went|has gone|just) dead",
    "(?:what|where) (?:happened|did you go)",
)


def vote(contact: ContactView) -> str | None:
    return (
        "yes"
        if contact.roles[-1:] == ("customer",)
        and len(contact.roles) > 1
        and contact.last.mentions(*_DEAD)
        else None
    )
