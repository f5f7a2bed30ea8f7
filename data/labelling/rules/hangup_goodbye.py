"""Somebody said goodbye, thanks or closed the letter: the contact came to its end."""

from data.labelling.view import ContactView

LABEL = "friction_system_hangup"
EXAMPLES = [
    ({"turns": [("customer", "thanks"), ("agent", "have a nice day, goodbye")]}, "no"),
    ({"turns": [("agent", "done"), ("customer", "great, thank you so much")]}, "no"),
    ({"turns": [("agent", "kind regards, your team")], "channel": "email"}, "no"),
    ({"turns": [("agent", "let me just have a")]}, None),
    ({"turns": [("agent", "bye"), ("customer", "hello? are you still there")]}, None),
]

_CLOSING = (
    "good ?bye",
    "bye",
    "have a (?:nice|good|great|lovely)",
    "take care",
    "thank you",
    "thanks",
    "cheers",
    "kind regards",
    "best wishes",
    "regards",
    "sincerely",
    "anything else",
    "glad (?:i|we) could",
)


def vote(contact: ContactView) -> str | None:
    return "no" if contact.roles[-1:] != ("system",) and contact.last.mentions(*_CLOSING) else None
