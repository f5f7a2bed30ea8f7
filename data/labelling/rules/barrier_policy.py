"""A rule of the house stands in the way."""

LABEL = "barrier"
EXAMPLES = [
    ({"agent": "Our policy does not allow a refund after 14 days."}, "policy"),
    ({"agent": "unfortunately the terms and conditions say twelve months"}, "policy"),
    ({"agent": "i sent you the policy you asked for"}, None),
    ({"customer": "what is your policy", "agent": "it is free"}, None),
]

_RULES = "(?:policy|policies|rules?|terms|terms and conditions|conditions|regulations?|procedures?|guidelines?|small print)"
_FORBIDS = (
    rf"(?:our|company|the|because of|due to|against|per|under|by|house|of) (?:[a-z]+ )?{_RULES} (?:[a-z]+ ){{0,3}}(?:not|[a-z]+n't|say|says|state|states|forbid|forbids|only|prevents?|requires?|stop|stops|is|are|allow|allows|mean|means|that)",
    rf"(?:against|because of|due to|bound by|that is|that's|it's|as per|per|under|within|outside|according to) (?:[a-z]+ )?(?:[a-z]+ )?{_RULES}", f"{_RULES} (?:doesn't|does not|don't|do not|won't|will not)", "(?:doesn't|does not|don't|do not|won't) allow",
    "(?:only|not) (?:[a-z]+ )?(?:possible|available|allowed|offered) (?:[a-z]+ )?(?:after|before|within|for (?:new|existing)|to (?:new|existing)|until|during)", "minimum (?:term|period|contract)", "(?:new|existing) customers only",
    "not (?:covered|eligible|entitled)", "we (?:never|don't|do not|cannot|can't) (?:make|give|offer|refund|waive) (?:any )?(?:exceptions?|refunds?|that|those|credits?)", "no exceptions?",
)  # fmt: skip


def vote(contact):
    return "policy" if contact.agent.mentions(*_FORBIDS) else None
