"""The log shows the zero key, or the caller asking the menu for a person."""

from data.labelling.view import ContactView

LABEL = "friction_pressed_zero"
EXAMPLES = [
    (
        {"turns": [("system", "press 1 for bills"), ("customer", "pressed 0")], "channel": "ivr"},
        "yes",
    ),
    (
        {
            "turns": [("system", "how can i help"), ("customer", "operator please")],
            "channel": "ivr",
        },
        "yes",
    ),
    ({"customer": "i owe you 0 pounds", "agent": "that is right"}, None),
    (
        {
            "turns": [("system", "press 0 for an operator"), ("customer", "selected billing")],
            "channel": "ivr",
        },
        None,
    ),
]

_KEY = (
    "(?:press(?:ed|es|ing)?|select(?:ed)?|hit|dial(?:led|ed)?|key|choice|input|entered|keyed|"
    "chose) (?:key )?(?:0|"
    "zero)",
    "(?:0|zero) (?:was )?(?:pressed|selected|received|key)",
    "0 0(?: 0)*",
    "zero zero",
)
_PERSON = (
    "operator",
    "(?:real |live |human )?(?:agent|person|human|representative|advisor|adviser)",
    "speak to someone",
)


def vote(contact: ContactView) -> str | None:
    if "system" not in contact.roles:
        return None
    logged = contact.last.mentions(*_KEY) or contact.customer.mentions(*_KEY)
    return (
        "yes"
        if logged or (contact.channel == "ivr" and contact.customer.affirms(*_PERSON))
        else None
    )
