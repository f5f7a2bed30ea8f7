"""A rule of the house stands in the way."""

from data.labelling.view import ContactView

LABEL = "barrier"
EXAMPLES = [
    ({"agent": "Our policy does not allow a refund after 14 days."}, "policy"),
    ({"agent": "unfortunately the terms and conditions say twelve months"}, "policy"),
    ({"agent": "i sent you the policy you asked for"}, None),
    ({"customer": "what is your policy", "agent": "it is free"}, None),
]

_RULES = (
    "(?:policy|policies|rules?|terms|terms and conditions|conditions|regulations?|procedures?|"
    "guidelines?|small print)"
)
_FORBIDS = (
    f"(?:our|company|the|against|per|under|by|house|of) (?:[a-z]+ )?{_RULES} (?:[a-z]+ "
    f"){{0,3}}(?:not|[a-z]+n't|says?|"
    "states?|forbids?|only|prevents?|requires?|stops?|is|are|allows?|means?|that)",
    "(?:against|because of|due to|bound by|that is|that's|it's|per|under|within|outside|according "
    "to) "
    f"(?:[a-z]+ ){{0,2}}{_RULES}",
    f"{_RULES} (?:doesn't|does not|don't|do not|won't|will not)",
    "(?:doesn't|does not|don't|do not|won't) allow",
    "(?:only|not) (?:[a-z]+ )?(?:possible|available|allowed|offered) (?:[a-z]+ )?(?:after|before|"
    "within|until|during)",
    "(?:only|not) (?:[a-z]+ )?(?:available|offered) (?:for|to) (?:new|existing)",
    "(?:new|existing) customers only",
    "minimum (?:term|period|contract)",
    "not (?:covered|eligible|entitled)",
    "no exceptions?",
    "we (?:never|don't|do not|cannot|can't) (?:make|give|offer|refund|waive) (?:any "
    ")?(?:exceptions?|refunds?|credit)",
)


def vote(contact: ContactView) -> str | None:
    return "policy" if contact.agent.mentions(*_FORBIDS) else None
