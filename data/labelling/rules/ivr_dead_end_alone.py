"""A menu, no agent, and the menu's last word is neither a result nor a transfer."""

from data.labelling.view import ContactView

LABEL = "friction_ivr_dead_end"
EXAMPLES = [
    (
        {
            "turns": [
                ("system", "press 1 or 2"),
                ("customer", "selected 2"),
                ("system", "goodbye"),
            ],
            "channel": "ivr",
        },
        "yes",
    ),
    (
        {
            "turns": [
                ("system", "press 1 or 2"),
                ("system", "your bill is sent to you, thank you"),
            ],
            "channel": "ivr",
        },
        None,
    ),
    ({"system": "press 1", "agent": "hello", "channel": "ivr"}, None),
    ({"customer": "hello", "channel": "chat"}, None),
]

_ENDED_WELL = (
    "sent",
    "done",
    "booked",
    "updated",
    "balance",
    "confirmed?",
    "recorded",
    "completed?",
    "taken",
    "received",
    "connecting",
    "transferring",
    "agent",
    "reference",
    "registered",
    "served",
    "success(?:ful|fully)?",
    "answered",
    "pressed",
    "zero",
    "0",
    "operator",
    "leaving",
    "ended by",
    "closed by",
    "call ended",
    "line",
    "dropped",
    "disconnected",
    "timed out",
    "line lost",
)


def vote(contact: ContactView) -> str | None:
    alone = contact.channel == "ivr" and "system" in contact.roles and "agent" not in contact.roles
    return (
        "yes"
        if alone and contact.roles[-1] == "system" and not contact.last.mentions(*_ENDED_WELL)
        else None
    )
