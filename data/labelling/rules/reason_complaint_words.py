"""The customer complains as such: about how they were treated, to a manager, to a regulator."""

from data.labelling.view import ContactView

LABEL = "reason"
EXAMPLES = [
    ({"customer": "I want to make a formal complaint about your staff"}, "complaint"),
    ({"customer": "let me speak to a manager, this is unacceptable"}, "complaint"),
    ({"customer": "i have no complaint, only a question"}, None),
    ({"customer": "my bill is wrong"}, None),
]

_COMPLAIN = (
    "complaints?",
    "complain",
    "complaining",
    "(?:speak|talk) to (?:a|the|your) (?:manager|supervisor|boss)",
    "ombudsman",
    "regulator",
    "(?:rude|unprofessional|disrespectful|unhelpful)",
    "lied to(?: me)?",
    "the way (?:i was|you|i've been) treated",
    "unacceptable",
    "disgrace(?:ful)?",
    "disgusted",
    "compensation",
    "trading standards",
    "solicitor",
    "lawyer",
    "(?:worst|terrible|appalling|awful|dreadful) (?:customer )?(?:service|company|experience|"
    "treatment)",
    "how i was treated",
    "hung up on me",
    "nobody (?:ever )?(?:calls|called|listens|cares|answers)",
)


def vote(contact: ContactView) -> str | None:
    return "complaint" if contact.about.affirms(*_COMPLAIN) else None
