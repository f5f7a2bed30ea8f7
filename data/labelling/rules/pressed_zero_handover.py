"""The menu's last word hands the caller over to a person instead of serving them."""

from data.labelling.view import ContactView

LABEL = "friction_pressed_zero"
EXAMPLES = [
    (
        {
            "turns": [("system", "press 1"), ("system", "transferring you to an agent")],
            "channel": "ivr",
        },
        "yes",
    ),
    (
        {
            "turns": [("system", "press 1"), ("system", "your balance is nine pounds")],
            "channel": "ivr",
        },
        None,
    ),
    ({"agent": "transferring you to an agent"}, None),
]

_HANDOVER = (
    "(?:transferr?|connect|pass|rout|forward|hand|divert)(?:ing|ed)? [a-z ]*(?:agent|advisor|"
    "adviser|operator|"
    "person|colleague|team|someone|queue|representative|human)",
    "left (?:the )?(?:menu|self service)",
    "opted out",
    "(?:agent|advisor|operator|person|human) (?:was )?(?:requested|asked for|wanted|chosen)",
)


def vote(contact: ContactView) -> str | None:
    return (
        "yes"
        if contact.channel == "ivr"
        and contact.roles[-1:] == ("system",)
        and contact.last.mentions(*_HANDOVER)
        else None
    )
