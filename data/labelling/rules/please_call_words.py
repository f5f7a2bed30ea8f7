"""In writing, the customer is told to telephone."""

from data.labelling.view import ContactView

LABEL = "friction_please_call"
EXAMPLES = [
    ({"agent": "For this you need to call our hotline.", "channel": "chat"}, "yes"),
    ({"agent": "We can't do that here, please ring us on 0800 111", "channel": "social"}, "yes"),
    ({"agent": "we will call you tomorrow", "channel": "chat"}, None),
    ({"agent": "no need to call us, it is done", "channel": "chat"}, None),
    ({"agent": "please call back later", "channel": "phone"}, None),
]

_CALL = (
    "(?:please|must|need to|have to|should|will have to|can|could|to|best to|kindly|just|and) "
    "(?:give )?(?:us "
    ")?(?:a )?(?:call|ring|phone|telephone|dial)(?: us| our| the| in| back| on| 0)?",
    "give (?:us|them|our [a-z]+) a (?:call|ring)",
    "(?:only|handled|done|solved|dealt with|sorted|possible) (?:be )?(?:[a-z]+ )?(?:by|over|on) "
    "(?:the )?(?:phone|"
    "telephone)",
    "(?:by|over|on) the (?:phone|telephone)",
    "call (?:us|our|the) (?:[a-z]+ )?(?:on|at|line|number|team|centre|hotline)",
    "hotline",
    "phone (?:line|team)",
    "(?:our|free) (?:[a-z]+ )?number",
)
_WE_CALL = (
    "(?:we|i|they|someone|colleague|he|she|team)(?: will|'ll| can| could| to)? (?:give you a "
    ")?(?:call|ring|phone)",
)


def vote(contact: ContactView) -> str | None:
    sent_to_phone = contact.written and contact.agent.affirms(*_CALL)
    return "yes" if sent_to_phone and not contact.agent.mentions(*_WE_CALL) else None
