"""Somebody speaks about the wait."""

from data.labelling.view import ContactView

LABEL = "friction_long_wait"
EXAMPLES = [
    ({"customer": "I have been on hold for half an hour"}, "yes"),
    ({"customer": "finally somebody picks up"}, "yes"),
    ({"agent": "sorry for the long wait"}, "yes"),
    ({"customer": "i can wait"}, None),
    ({"customer": "i did not wait long at all"}, None),
]

_WAITED = (
    "(?:on|in) (?:the |a |your )?(?:hold|queue|line) (?:for|since|[a-z]+ (?:minutes|hours))",
    "(?:waited|waiting|queued|queuing|queueing|holding) (?:[a-z]+ ){0,2}(?:for )?(?:ages|forever|"
    "an hour|hours|"
    "[a-z0-9]+ minutes|so long|half an hour|a long time|too long)",
    "finally (?:[a-z]+ )?(?:someone|somebody|a person|a human|through|got|an answer|picks)",
    "at last",
    "(?:so|too|very|far too) long to (?:answer|get through|reply|pick up)",
    "took (?:you )?(?:ages|forever|so long|[a-z0-9]+ minutes)",
    "took (?:me )?(?:ages|forever|[a-z0-9]+ minutes) to get through",
    "forever to",
    "long (?:wait|hold|queue)",
    "(?:wait|hold|waiting|queue) (?:time|music)",
)
_AGENT = (
    "(?:sorry|apologi[sz]e|apologies) (?:for|about) (?:the|your|that) (?:long )?(?:wait|delay|"
    "queue)",
    "(?:long|lengthy) (?:wait|queue|hold)",
    "(?:complain(?:ed|s|ing)?|upset|angry|unhappy) (?:[a-z]+ ){0,2}(?:wait|queue|waiting)",
    "(?:had )?waited [a-z0-9]+ (?:min|minutes|mins)",
)


def vote(contact: ContactView) -> str | None:
    return "yes" if contact.customer.affirms(*_WAITED) or contact.agent.affirms(*_AGENT) else None
