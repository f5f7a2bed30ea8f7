"""Neither praise nor anger anywhere: a plain matter."""

from data.labelling.view import ContactView

LABEL = "sentiment"
EXAMPLES = [
    ({"customer": "hello, i want to change my address", "agent": "done"}, "neutral"),
    ({"customer": "my bill is wrong again, this is unacceptable"}, None),
    ({"customer": "brilliant, thank you so much"}, None),
    ({"agent": "caller about an invoice, informed the customer"}, "neutral"),
    ({"agent": "caller about an invoice, customer angry"}, None),
    ({"customer": "i want to change my address", "system": "done"}, None),
]

_MOOD = (
    "ridiculous",
    "unacceptable",
    "fed up",
    "angry",
    "furious",
    "annoy(?:ed|ing)",
    "frustrat(?:ed|ing|ion)",
    "disappoint(?:ed|ing)",
    "useless",
    "terrible",
    "awful",
    "disgust(?:ed|ing)",
    "disgrace(?:ful)?",
    "joke",
    "worst",
    "enough",
    "sick of",
    "waste",
    "hopeless",
    "unbelievable",
    "unhappy",
    "upset",
    "patience",
    "happy",
    "pleased",
    "brilliant",
    "wonderful",
    "excellent",
    "fantastic",
    "amazing",
    "perfect",
    "lovely",
    "helpful",
    "great",
    "so much",
    "a lot",
    "appreciate",
    "love",
    "star",
    "complaint",
    "impressed",
    "quick",
    "finally",
    "listening",
    "believe",
    "paying you",
    "treated",
    "still",
    "hours",
    "ages",
)


def vote(contact: ContactView) -> str | None:
    if contact.note.text and not contact.note.mentions(
        *_MOOD, "cross", "rude", "friendly", "thanked"
    ):
        return "neutral"
    return (
        "neutral"
        if "agent" in contact.roles
        and len(contact.customer) >= 5
        and not contact.customer.mentions(*_MOOD)
        else None
    )
