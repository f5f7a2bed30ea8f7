"""Something the customer has does not work as it should: slow, dropping, errors, cannot log in."""

from data.labelling.view import ContactView

LABEL = "reason"
EXAMPLES = [
    ({"customer": "My wifi keeps dropping every evening"}, "technical"),
    ({"customer": "the box shows error 12 and i can't log in"}, "technical"),
    ({"customer": "it stopped working after the update"}, "technical"),
    ({"customer": "my payment is not working"}, None),
    ({"customer": "i want to change my address"}, None),
]

_FAULT = (
    "keeps? (?:dropping|cutting|freezing|crashing|restarting|rebooting|losing|disconnecting|"
    "buffering)",
    "drops",
    "(?:very|so|really|too|painfully) slow",
    "is slow",
    "slowly",
    "error",
    "red light",
    "flashing",
    "wi ?fi",
    "frozen",
    "(?:can't|cannot|can not|won't|unable to|couldn't|doesn't|does not|will not) (?:[a-z]+ "
    ")?(?:log|login|connect|"
    "get online|sign in|start|turn on|load|pair|sync|reach|get a picture|see a picture)",
    "stopped working",
    "(?:not|[a-z]+n't|hasn't|never) (?:[a-z]+ )?(?:work|works|working|worked)(?: properly)?",
    "broken",
    "faulty",
    "megabits",
    "restart",
    "reset",
    "password",
    "freezes",
    "crashes",
    "no picture",
    "after the update",
)
_MONEY = ("payment", "direct debit", "card")


def vote(contact: ContactView) -> str | None:
    words = contact.about
    return "technical" if words.mentions(*_FAULT) and not words.mentions(*_MONEY) else None
