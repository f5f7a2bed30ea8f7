"""The agent simply did it: no word of anything in the way."""

from data.labelling.view import ContactView

LABEL = "barrier"
EXAMPLES = [
    ({"agent": "of course. i have changed that for you, all done"}, "none"),
    ({"agent": "i have changed it, but i had to get approval from my manager"}, None),
    ({"agent": "i will look into it"}, None),
]

_DONE = (
    "(?:i|we)(?: have|'ve)(?: now| just| already)? (?:[a-z]+ed|taken|put|set|sent|made|given|"
    "reset|moved|split|done)",
    "all (?:done|set|sorted)",
    "(?:is|are|been) (?:now )?(?:sorted|fixed|done|updated|active|resolved)",
)
_HINT = (
    "manager",
    "supervisor",
    "approval",
    "approve",
    "allowed?",
    "policy",
    "rules?",
    "terms",
    "system",
    "screen",
    "tool",
    "not sure",
    "don't know",
    "never seen",
    "unfortunately",
    "afraid",
    "authori[sz]ed?",
    "colleague",
    "limit",
    "procedure",
    "computer",
    "access",
    "cannot",
    "can't",
    "slow",
    "trained",
)


def vote(contact: ContactView) -> str | None:
    return "none" if contact.agent.affirms(*_DONE) and not contact.agent.mentions(*_HINT) else None
