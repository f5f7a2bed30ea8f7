"""The agent's own system stands in the way."""

LABEL = "barrier"
EXAMPLES = [
    ({"agent": "sorry, my system is very slow today"}, "tool"),
    ({"agent": "the page won't load and i can't see your account"}, "tool"),
    ({"agent": "your system should be back now"}, None),
    ({"customer": "my computer has crashed", "agent": "let me help"}, None),
]

_TOOLS = "(?:system|systems|computer|screen|tool|tools|programme|program|software|database|crm|terminal|application|ordering system|billing system)"
_BROKEN = (
    rf"(?:my|our|the|this|internal|we have) (?:[a-z]+ )?{_TOOLS} (?:[a-z]+ ){{0,2}}(?:slow|down|frozen|froze|freezing|crashed|crashing|stuck|offline|locked|broken|not|isn't|won't|doesn't|does|will|keeps|hangs?|has|just|seems|is|are|playing|throws|failed)",
    rf"{_TOOLS} (?:error|problem|issue|outage|fault|down|failure|slow|crash)", "(?:page|screen|form|button|account|record|file) (?:[a-z]+ )?(?:won't|will not|doesn't|does not|isn't|is not|is|has) (?:[a-z]+ )?(?:load|loading|open|opening|save|saving|frozen|greyed|locked|show|stuck|work)",
    "(?:can't|cannot|can not|unable to|couldn't|don't|not able to) (?:[a-z]+ )?(?:see|open|access|load|pull up|get into|reach|view) (?:[a-z]+ )?(?:your|the|that|this|any|my)",
    "(?:no|don't have|do not have) access", "(?:logged|kicked|thrown) (?:me )?out", "(?:back|open)[ -]?office (?:is )?down", "(?:tool|system) (?:froze|hung|down)",
)  # fmt: skip


def vote(contact):
    return "tool" if contact.agent.mentions(*_BROKEN) else None
