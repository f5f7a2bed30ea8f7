"""A menu that finished its business, or did not, when no agent took part."""

from data.labelling.view import ContactView

LABEL = "friction_unresolved"
EXAMPLES = [
    (
        {
            "turns": [("system", "press 1"), ("system", "your payment has been taken")],
            "channel": "ivr",
        },
        "no",
    ),
    (
        {"turns": [("system", "press 1"), ("system", "invalid option, goodbye")], "channel": "ivr"},
        "yes",
    ),
    ({"turns": [("system", "press 1"), ("agent", "hello")], "channel": "ivr"}, None),
    ({"customer": "hello"}, None),
]

_SERVED = (
    "(?:has|have) been [a-z]+",
    "your [a-z ]+ (?:is|was|are)",
    "we (?:have )?(?:sent|texted|emailed)",
    "thank you for using",
    "completed?",
    "confirmed",
)
_FAILED = (
    "could not",
    "without",
    "exhausted",
    "ended by",
    "no (?:further|agent|more)",
    "closed by",
    "invalid",
    "(?:not|[a-z]+n't) [a-z ]*(?:valid|understand|recogni[sz]e|available)",
    "disconnected",
    "timed? ?out",
    "closed",
    "error",
    "try again",
    "website",
    "main menu",
    "lost",
    "no (?:match|option)",
)


def vote(contact: ContactView) -> str | None:
    if contact.channel != "ivr" or "agent" in contact.roles or contact.roles[-1:] != ("system",):
        return None
    if contact.last.mentions(*_FAILED):
        return "yes"
    return "no" if contact.last.affirms(*_SERVED) else None
