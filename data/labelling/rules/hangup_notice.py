"""A system or an agent's note says that the line or the session broke off."""

from data.labelling.view import ContactView

LABEL = "friction_system_hangup"
EXAMPLES = [
    ({"system": "session timed out"}, "yes"),
    ({"system": "call disconnected by the system"}, "yes"),
    ({"agent": "customer's line dropped in the middle of the call"}, "yes"),
    ({"system": "your fault is registered"}, None),
    ({"customer": "my line dropped yesterday", "agent": "let me look"}, None),
]

_BROKE = (
    "disconnect(?:ed|s|ion)?",
    "(?:timed|time) out",
    "timeout",
    "(?:call|line|chat|session|connection|conversation) (?:was |has |has been |is |got |"
    "unexpectedly )*(?:dropped|"
    "lost|ended|closed|terminated|cut|interrupted|failed|expired|gone)",
    "hung up",
    "hangup",
    "dropped (?:the )?(?:call|line)",
    "cut off",
    "lost (?:the )?(?:call|caller|line|connection|customer)",
    "technical (?:error|fault)",
    "system error",
    "ended unexpectedly",
    "inactiv(?:e|ity)",
)
_NOTE = (
    "(?:call|line|connection) (?:was |got |has |went )?(?:dropped|lost|cut|cut off|dead|broke)",
    "lost the (?:caller|call|line)",
    "(?:got|was|were) (?:cut off|disconnected)",
    "call ended by",
)


def vote(contact: ContactView) -> str | None:
    return "yes" if contact.system.mentions(*_BROKE) or contact.agent.mentions(*_NOTE) else None
