"""The agent's own system stands in the way."""

from data.labelling.view import ContactView

LABEL = "barrier"
EXAMPLES = [
    ({"agent": "sorry, my system is very slow today"}, "tool"),
    ({"agent": "the page won't load and i can't see your account"}, "tool"),
    ({"agent": "your system should be back now"}, None),
    ({"customer": "my computer has crashed", "agent": "let me help"}, None),
]

_TOOLS = (
    "(?:system|systems|computer|screen|tool|tools|program|software|database|crm|terminal|"
    "application|ordering system)"
)
_FAILS = (
    "(?:slow|down|frozen|froze|freezing|freezes|crashed|crashing|crashes|stuck|offline|locked|"
    "broken|failed|hung|hangs)"
)
_NOT = (
    "(?:not|isn't|won't|would not|wouldn't|will not|doesn't|does not|did not|didn't|"
    "can not|cannot|can't)"
)
_BROKEN = (
    f"(?:my|our|the|this|internal) (?:[a-z]+ )?{_TOOLS} (?:[a-z]+ ){{0,2}}{_FAILS}",
    f"{_TOOLS} (?:(?:is|was|has|just|keeps) )?(?:{_NOT} [a-z]+|{_FAILS}|playing up|error|problem|"
    "issue|outage|failure)",
    f"(?:page|screen|form|button|account|record|file) (?:{_NOT} (?:load|open|save|show|work)|"
    f"(?:is|has) {_FAILS})",
    "(?:can't|cannot|can not|unable to|couldn't|not able to) (?:[a-z]+ )?(?:see|open|access|load|"
    "pull up|view) "
    "(?:[a-z]+ )?(?:your|the|that|this|any|my)",
    "(?:no|don't have|do not have) access",
    "(?:logged|kicked|thrown) (?:me )?out",
    "back office (?:is )?down",
)


def vote(contact: ContactView) -> str | None:
    return "tool" if contact.agent.mentions(*_BROKEN) else None
