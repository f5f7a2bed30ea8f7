"""The menu did what was asked, or passed on to a person: no dead end."""

from data.labelling.view import ContactView

LABEL = "friction_ivr_dead_end"
EXAMPLES = [
    ({"system": "your payment has been taken, your reference is 4 5", "channel": "ivr"}, "no"),
    ({"system": "connecting you to the next free agent", "channel": "ivr"}, "no"),
    ({"system": "sorry, this is not a valid option", "channel": "ivr"}, None),
]

_SERVED = (
    "(?:has|have) been (?:taken|sent|booked|updated|received|completed|recorded|changed|confirmed|"
    "texted|registered)",
    "(?:your|the) (?:balance|reference|next bill|next payment|order|request|confirmation|"
    "appointment) (?:number "
    ")?(?:is|was|has)",
    "(?:connecting|transferring|putting|forwarding) (?:you|the call|to)",
    "thank you for using",
    "completed?",
    "confirmed",
    "we (?:have )?(?:sent|texted|emailed)",
    "done",
    "played",
    "self service (?:ok|complete|done)",
)


def vote(contact: ContactView) -> str | None:
    return "no" if contact.system.affirms(*_SERVED) else None
