"""Nothing works for a whole house, street or area."""

from data.labelling.view import ContactView

LABEL = "reason"
EXAMPLES = [
    ({"customer": "we have had no internet at all since tuesday"}, "outage"),
    ({"customer": "Is there an outage in my area?"}, "outage"),
    ({"customer": "my neighbours have lost their connection as well"}, "outage"),
    ({"customer": "the wifi is slow in the kitchen"}, None),
    ({"customer": "i have no questions"}, None),
]

_NOTHING = (
    "no (?:internet|service|signal|connection|broadband|network|phone|line|dial tone)(?: at all)?",
    "outage",
    "outages",
    "nothing works",
    "nothing is working",
    "power cut",
    "blackout",
    "(?:is|are|has been|went|gone|been|all) (?:completely |all |totally )?(?:down|dead|off)",
    "lost (?:its|their|our|all|the|my) (?:[a-z]+ )?(?:connection|service|signal|internet)",
)
_AREA = (
    "(?:in|across) (?:my|our|the|this) (?:whole |entire )?(?:area|street|road|town|village|"
    "postcode|building|"
    "neighbourhood)",
    "(?:the|my|our) neighbou?rs?",
    "whole (?:street|area|road|town|building)",
    "nobody (?:on|in) (?:our|my|the)",
    "all of [a-z ]+ (?:has|have|is)",
)


def vote(contact: ContactView) -> str | None:
    return "outage" if contact.about.mentions(*_NOTHING, *_AREA) else None
