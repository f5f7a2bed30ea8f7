"""In writing, the agent did it there and then."""

from data.labelling.view import ContactView

LABEL = "friction_please_call"
EXAMPLES = [
    ({"agent": "I have changed it for you, all done", "channel": "chat"}, "no"),
    ({"agent": "I have noted it, but you will have to call", "channel": "chat"}, None),
    ({"agent": "we are looking into it", "channel": "email"}, None),
]

_DONE = (
    "(?:i|we)(?: have|'ve)(?: now| just)? [a-z]+(?:ed|en|de|nt|t)",
    "all (?:done|set|sorted)",
    "(?:is|are|been) (?:now )?(?:sorted|fixed|done|updated|active)",
)


def vote(contact: ContactView) -> str | None:
    calls = contact.agent.mentions(
        "call", "phone", "ring", "hotline", "number", "dial", "telephone"
    )
    return "no" if contact.written and contact.agent.affirms(*_DONE) and not calls else None
