"""The customer wants more: a bigger plan, another product, a faster line."""

from data.labelling.view import ContactView

LABEL = "reason"
EXAMPLES = [
    ({"customer": "I'd like to upgrade to the bigger package"}, "upgrade"),
    ({"customer": "what would a faster line cost me"}, "upgrade"),
    ({"customer": "I saw your offer online and want to sign up"}, "upgrade"),
    ({"customer": "i never asked for an upgrade"}, None),
    ({"customer": "my line is slow"}, None),
]

_MORE = (
    "upgrade",
    "upgrading",
    "upgraded",
    "add (?:a|an|the|another|on)?",
    "sign up",
    "signing up",
    "(?:an|the|your|new) offer",
    "(?:faster|bigger|better|larger|higher|more) (?:line|plan|package|speed|tariff|data|internet|"
    "deal|allowance|"
    "bundle)",
    "move up",
    "go up to",
    "(?:change|switch|move|go) to (?:the|a) [a-z]+ (?:plan|package|tariff|bundle)",
    "interested in",
    "what (?:would|does|do) (?:it|that|the|you) [a-z ]*cost",
    "as well on my",
    "subscribe",
)


def vote(contact: ContactView) -> str | None:
    return "upgrade" if contact.about.affirms(*_MORE) else None
