"""Words of praise, relief and warm thanks."""

from data.labelling.view import ContactView

LABEL = "sentiment"
EXAMPLES = [
    ({"customer": "brilliant, you've been so helpful"}, "positive"),
    ({"customer": "Thank you so much, that was quick!"}, "positive"),
    ({"customer": "this is not great at all"}, None),
    ({"customer": "thanks, bye"}, None),
]

_PRAISE = (
    "brilliant",
    "wonderful",
    "excellent",
    "fantastic",
    "amazing",
    "perfect",
    "lovely",
    "superb",
    "awesome",
    "delighted",
    "great (?:service|help|job|work|stuff|news|thank)?",
    "(?:so|very|really|most|extremely) (?:helpful|kind|friendly|quick|nice|pleased|happy|grateful|"
    "fast|good)",
    "thank you (?:so|very) much",
    "thanks (?:a lot|so much|a million|ever so)",
    "many thanks",
    "much appreciated",
    "really appreciate",
    "you(?:'re| are) a star",
    "made my day",
    "(?:love|loved|loving)",
    "well done",
    "impressed",
    "pleased",
    "that was (?:quick|easy|fast|painless)",
    "exactly what",
    "best (?:service|company)",
    "relief",
    "happy (?:with|now|that)",
)
_BUT = (
    "ridiculous",
    "fed up",
    "useless",
    "terrible",
    "worst",
    "angry",
    "unacceptable",
    "disappointed",
)


def vote(contact: ContactView) -> str | None:
    words = contact.customer
    return "positive" if words.affirms(*_PRAISE) and not words.mentions(*_BUT) else None
