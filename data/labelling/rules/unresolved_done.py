"""The agent says what they have done."""

from data.labelling.view import ContactView

LABEL = "friction_unresolved"
EXAMPLES = [
    ({"agent": "I have corrected your bill"}, "no"),
    ({"agent": "that is all sorted for you"}, "no"),
    ({"agent": "i have not changed anything"}, None),
    ({"agent": "i have raised a ticket, we will call you back"}, None),
    ({"agent": "i will see what i can do"}, None),
]

_DONE = (
    "(?:i|we)(?: have|'ve)(?: now| just| already)? (?:[a-z]+ed|taken|put|set|sent|made|given|"
    "reset|found|moved|"
    "paid|split|done|sorted)",
    "(?:that's|that is|it's|it is|you're|you are|everything is|this is|all|now|been|is|are) "
    "(?:all |now |been "
    ")?(?:done|sorted|fixed|resolved|solved|working|active|set|restored|corrected|booked|updated|"
    "credited|removed|"
    "cancelled|in place)",
    "(?:resolved|solved|fixed|sorted|done|completed)",
    "(?:should|will) (?:now )?(?:work|be fine|arrive|start)",
)
_OPEN = (
    "raised",
    "escalated",
    "logged",
    "(?:call|called|calling) (?:you )?back",
    "unfortunately",
    "afraid",
    "look into",
    "get back to you",
    "ticket",
)


def vote(contact: ContactView) -> str | None:
    return "no" if contact.agent.affirms(*_DONE) and not contact.agent.mentions(*_OPEN) else None
