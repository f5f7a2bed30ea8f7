"""How the customer's last words sound: thanks, plain, or bitter."""

from data.labelling.view import ContactView

LABEL = "sentiment"
EXAMPLES = [
    ({"customer": "great, thanks a lot, bye"}, "positive"),
    ({"customer": "okay, thank you, bye"}, "neutral"),
    ({"customer": "whatever, you clearly don't care"}, "negative"),
    ({"customer": "the number is five"}, None),
]

_BITTER = (
    "whatever",
    "don't care",
    "useless",
    "(?:had|have) enough",
    "never again",
    "ridiculous",
    "fed up",
    "not good enough",
    "joke",
    "leaving",
    "elsewhere",
    "regulator",
    "complain",
    "disappointed",
    "forget it",
    "no help",
    "waste",
)
_WARM = (
    "great",
    "perfect",
    "brilliant",
    "lovely",
    "wonderful",
    "excellent",
    "fantastic",
    "so much",
    "a lot",
    "very much",
    "helpful",
    "appreciate",
    "pleased",
    "happy",
    "star",
    "amazing",
    "(?:so|very|most|really) kind",
)
_PLAIN = (
    "ok(?:ay)?",
    "alright",
    "all right",
    "fine",
    "right",
    "thanks",
    "thank you",
    "bye",
    "i see",
    "understood",
    "got it",
    "sure",
    "good ?bye",
    "will do",
    "cheers",
)


def vote(contact: ContactView) -> str | None:
    ending = contact.ending
    if ending.affirms(*_BITTER):
        return "negative"
    if ending.affirms(*_WARM):
        return "positive"
    return "neutral" if ending.mentions(*_PLAIN) else None
