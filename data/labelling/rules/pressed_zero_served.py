"""The menu finished what the caller came for."""

from data.labelling.view import ContactView

LABEL = "friction_pressed_zero"
EXAMPLES = [
    (
        {
            "turns": [("system", "press 1"), ("system", "your payment has been taken")],
            "channel": "ivr",
        },
        "no",
    ),
    ({"turns": [("system", "press 1"), ("system", "sorry, goodbye")], "channel": "ivr"}, None),
]

_SERVED = (
    "(?:has|have) been [a-z]+",
    "your [a-z ]+ (?:is|was|are)",
    "we (?:have )?(?:sent|texted|emailed)",
    "thank you for using",
)


def vote(contact: ContactView) -> str | None:
    person = contact.last.mentions(
        "agent", "advisor", "adviser", "operator", "colleague", "0", "zero", "person"
    )
    served = (
        contact.channel == "ivr"
        and contact.roles[-1:] == ("system",)
        and contact.last.affirms(*_SERVED)
    )
    return "no" if served and not person else None
