"""The agent says they pass the customer on, or a note says it was done."""

from data.labelling.view import ContactView

LABEL = "friction_transfer"
EXAMPLES = [
    ({"agent": "let me put you through to billing"}, "yes"),
    ({"agent": "I'll transfer you to a colleague"}, "yes"),
    ({"agent": "transferred to second line"}, "yes"),
    ({"agent": "you do not have to be transferred, i can do that"}, None),
    ({"agent": "i transferred the money to your account"}, None),
]

_PASSED = (
    "put(?:ting)? you (?:through|on to|over|across)",
    "transfer(?:ring|red)? (?:you|the call|this call|your call|the customer|customer|caller|to|"
    "over)",
    "pass(?:ing|ed)? (?:you|the call|this|your call|the customer|caller) (?:on|over|across|to|"
    "along)",
    "connect(?:ing)? you (?:to|with)",
    "hand(?:ing|ed)? (?:you|over|the call) (?:over |to )?",
    "(?:another|different|right|other) (?:team|department) (?:will|can|has|needs|should|who)",
    "(?:get|fetch) (?:you )?(?:someone|a colleague) (?:from|in|who)",
    "(?:been|was|were|got) (?:transferred|passed|handed|put through)",
    "moving you (?:over )?to",
    "transferred",
    "(?:warm |cold |blind )?transfer to",
    "passed to",
    "forwarded to",
    "handed to",
    "sent (?:on )?to (?:[a-z]+ )?(?:line|team|department)",
)
_MONEY = ("transferred the", "transferred your (?:money|balance|credit|number)", "bank transfer")


def vote(contact: ContactView) -> str | None:
    return (
        "yes" if contact.agent.affirms(*_PASSED) and not contact.agent.mentions(*_MONEY) else None
    )
