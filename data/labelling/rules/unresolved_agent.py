"""The agent leaves it open: somebody will look, call back, come; or it cannot be done."""

from data.labelling.view import ContactView

LABEL = "friction_unresolved"
EXAMPLES = [
    ({"agent": "i am afraid i can't help you with that"}, "yes"),
    ({"agent": "I'll raise a ticket and someone will get back to you"}, "yes"),
    ({"agent": "that is all done for you now"}, None),
    ({"agent": "it will be fixed, i have restarted it and it is working"}, None),
]

_OPEN = (
    "(?:can't|cannot|can not|unable to|not able to|couldn't|could not|won't be able to) (?:[a-z]+ "
    "){0,2}(?:help|do|"
    "fix|change|solve|see|sort|resolve|find|finish|answer|say|promise|complete|take|give|access|"
    "tell)",
    "(?:get|come|call|calling|calls|be) back to you",
    "(?:call|ring|phone|contact) you (?:back|later|tomorrow|next|within|when)",
    "(?:call|called|ring|rung) back",
    "(?:raise|raised|open|opened|log|logged|escalate|escalated|escalating|create|created) (?:a|an|"
    "it|this|the|your)?",
    "look(?:ing)? into (?:it|this|that)",
    "try again (?:later|tomorrow|in)",
    "i(?: a|')m afraid",
    "unfortunately",
    "(?:nothing|not much) (?:more |else )?(?:i|we) can do",
    "within (?:[a-z0-9]+ ){1,3}(?:days|hours)",
    "(?:still|remains) (?:open|unresolved|pending)",
    "not (?:resolved|solved|fixed)",
    "unresolved",
    "pending",
    "no (?:solution|answer|fix)",
    "(?:have|has|need|needs) to wait",
    "wait for",
    "left open",
    "ticket",
    "no (?:solution|answer|resolution) (?:today|yet|now|possible)",
    "(?:to|needs|requires) follow(?: |-)?up",
    "follow up (?:needed|required)",
    "could not (?:solve|help|fix|resolve)",
    "call ?back (?:promised|agreed|booked|requested|arranged)",
    "(?:please|must|need to|have to) (?:call|ring|phone) (?:us|our)",
    "(?:only|has to) (?:be done |happen |go )?by phone",
    "nothing (?:more )?(?:i|we) can",
    "(?:what|how) (?:i|we) can('t| not)",
    "not sure (?:when|why|how|what)",
    "someone (?:will|has to|needs to|should)",
)
_DONE = (
    "(?:that's|that is|it's|it is|all|now|is|are|been|already) (?:all |now |been |sorted and "
    ")?(?:done|sorted|"
    "fixed|resolved|solved|working|active|set|restored|corrected|booked|updated|credited|removed)",
)


def vote(contact: ContactView) -> str | None:
    return "yes" if contact.agent.mentions(*_OPEN) and not contact.agent.affirms(*_DONE) else None
