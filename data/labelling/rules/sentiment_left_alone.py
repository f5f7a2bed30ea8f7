"""The contact failed the customer: a dead end, a broken line, sent away, nothing solved."""

from data.labelling.view import ContactView

LABEL = "sentiment"
EXAMPLES = [
    ({"system": "invalid choice, goodbye", "channel": "ivr"}, "negative"),
    (
        {"customer": "where is it", "agent": "please call our hotline", "channel": "chat"},
        "negative",
    ),
    ({"agent": "unfortunately i can't help you", "contacts_before": 1}, "negative"),
    ({"agent": "unfortunately i can't help you", "contacts_before": 0}, None),
    ({"system": "your payment has been taken", "channel": "ivr"}, None),
]

_GONE = (
    "invalid",
    "could not be [a-z]+",
    "without an? [a-z]+",
    "exhausted",
    "disconnected",
    "timed out",
    "ended by",
    "(?:no|not) (?:a )?(?:valid|further|understood|recogni[sz]ed)",
    "dropped",
    "lost",
)
_SENT_AWAY = (
    "(?:please|must|need to|have to) (?:call|ring|phone)",
    "hotline",
    "by phone",
    "call us",
)
_UNSOLVED = (
    "can't help",
    "cannot help",
    "not able to",
    "unable to",
    "unfortunately",
    "afraid",
    "nothing (?:i|we) can",
    "not resolved",
    "left open",
    "no solution",
    "could not solve",
)


def vote(contact: ContactView) -> str | None:
    gone = contact.system.mentions(*_GONE)
    away = contact.written and contact.agent.affirms(*_SENT_AWAY)
    again = contact.contacts_before >= 1 and contact.agent.mentions(*_UNSOLVED)
    return "negative" if gone or away or again else None
