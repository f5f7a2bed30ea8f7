"""Something ordered or someone sent for has not come, or not as ordered."""

from data.labelling.view import ContactView

LABEL = "reason"
EXAMPLES = [
    ({"customer": "Where is my parcel? It should have arrived on Monday."}, "delivery"),
    ({"customer": "the technician never showed up to install it"}, "delivery"),
    ({"customer": "I still haven't received my new card"}, "delivery"),
    ({"customer": "I want to order something"}, None),
    ({"customer": "the letter has arrived, thanks"}, None),
]

_SENT = (
    "parcel",
    "package (?:has|is|was|never|hasn't|didn't)",
    "courier",
    "shipping",
    "shipped",
    "shipment",
    "tracking",
    "deliver(?:y|ed|ies|ing)?",
    "where is (?:my|the|our)",
    "(?:wrong|damaged) (?:item|product|one|size|box|order)",
    "sent (?:me )?(?:the|a) wrong",
    "dispatch(?:ed)?",
    "in the post",
    "(?:not|[a-z]+n't|never) (?:[a-z]+ )?(?:arrive|arrived|come|came|received|receive|turned up|"
    "here|shown up|turn "
    "up|show up)",
    "never (?:showed|turned) up",
    "nothing (?:has |ha )?(?:come|arrived)",
    "(?:going to|when will|will it|should it|did it|does it) (?:[a-z]+ )?(?:arrive|come)",
    "(?:when|how long|where)(?: [a-z]+){0,6} (?:arrive|receive|get to me|get here|be here|turn up)",
    "waiting for (?:my|the|a) (?:[a-z]+ )?(?:order|card|router|box|engineer|technician|delivery|"
    "phone)",
    "i ordered",
    "(?:my|the) order",
    "to install",
)
_LETTERS = ("(?:refund|confirmation|email|e mail|code|answer|reply)",)


def vote(contact: ContactView) -> str | None:
    words = contact.about
    return "delivery" if words.mentions(*_SENT) and not words.mentions(*_LETTERS) else None
