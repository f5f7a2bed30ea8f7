"""Everyday requests without trouble: details, documents, opening hours, moving house."""

from data.labelling.view import ContactView

LABEL = "reason"
EXAMPLES = [
    ({"customer": "I need to update my address, we moved house"}, "other"),
    ({"customer": "What are your opening hours?"}, "other"),
    ({"customer": "can you send me a copy of my contract"}, "other"),
    ({"customer": "my address is wrong on the bill i was charged for"}, None),
    ({"customer": "the box is broken"}, None),
]

_ADMIN = (
    "(?:update|change|correct|give you|changed|got|have) (?:my|the|our|a new|a different) "
    "(?:[a-z]+ )?(?:address|"
    "name|number|email|e mail|details|phone number|surname)",
    "(?:edit|update|change|correct|amend)(?: [a-z]+)? (?:details|information|name|address)",
    "opening (?:hours|times)",
    "new address",
    "old address",
    "(?:moving|moved|move) (?:house|home|flat|to a new)",
    "copy of",
    "(?:open|close) on",
    "what time do you",
    "(?:a )?(?:quick|general|simple) (?:question|query)",
    "(?:my|the) (?:contract|agreement) (?:end|run|start)s?",
    "when does my",
    "power of attorney",
    "passed away",
    "marketing",
    "newsletter",
    "privacy",
    "my data",
    "how long is my",
    "where (?:is|are) (?:your|the nearest)",
    "language",
    "do you (?:have|offer) a shop",
    "(?:general|other) (?:question|enquiry|query|information)s?",
    "(?:know|find out|tell me|ask) (?:if|whether)",
    "(?:a|the|your) letter",
    "abroad",
)
_TROUBLE = ("charged?", "bill", "invoice", "cancel", "broken", "complaint", "payment")


def vote(contact: ContactView) -> str | None:
    words = contact.about
    return "other" if words.mentions(*_ADMIN) and not words.mentions(*_TROUBLE) else None
