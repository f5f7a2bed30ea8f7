"""The customer says it is not the first time."""

from data.labelling.view import ContactView

LABEL = "friction_repeated_contact"
EXAMPLES = [
    ({"customer": "this is the third time i call about this"}, "yes"),
    ({"customer": "I already wrote to you last week and nothing happened"}, "yes"),
    ({"customer": "i was promised a call back that never came"}, "yes"),
    ({"agent": "customer called again about the same bill"}, "yes"),
    ({"customer": "hi, it is the first time i call"}, None),
    ({"customer": "it went down again"}, None),
]

_AGAIN = (
    "(?:second|third|fourth|fifth|sixth|2nd|3rd|4th|tenth|umpteenth|hundredth|[2-9]th) (?:time|"
    "call|attempt|email|"
    "message|chat|contact)",
    "(?:already|previously) (?:[a-z]+ )?(?:called|rang|phoned|wrote|written|spoke|spoken|"
    "contacted|told|explained|"
    "reported|been in touch|asked|chatted|emailed)",
    "(?:called|rang|phoned|wrote|written|spoke|spoken|contacted|messaged|emailed|chatted|got in "
    "touch) (?:[a-z]+ "
    "){0,4}(?:before|last week|yesterday|again|twice|already|days? ago|weeks? ago|times|on (?:mon|"
    "tues|wednes|"
    "thurs|fri|satur)day|once)",
    "calling (?:you )?(?:again|back)",
    "(?:same|this) (?:problem|issue|thing|matter|story|question|fault)(?: [a-z]+)? again",
    "again about (?:this|the same|it)",
    "keep (?:calling|ringing|having to call|explaining|repeating)",
    "(?:twice|three times|several times|many times|times) (?:already|now|before)",
    "(?:still|yet) (?:no|not|nothing|waiting|hasn't|isn't|haven't)",
    "how many times",
    "never (?:called|rang|got|came|heard) (?:me )?back",
    "last (?:time|agent|person|colleague|guy|lady) (?:[a-z]+ ){0,3}(?:said|told|promised)",
    "(?:was|were) (?:told|promised)",
    "following up",
    "chasing",
    "previous (?:call|chat|email|contact|message|ticket)",
    "repeat (?:call|caller|contact)",
    "(?:your|one of your) colleagues? (?:said|told|promised)",
    "on my (?:second|third|fourth)",
)
_NOTE = (
    "(?:called|contacted|calls|rang|wrote|cust|customer) (?:[a-z]+ ){0,2}(?:again|before|already|"
    "repeatedly|twice)",
    "repeat (?:call|caller|contact)",
    "(?:second|third|2nd|3rd|fourth) (?:call|contact|time|attempt)",
    "same issue",
    "called (?:about this )?(?:before|already)",
    "previous (?:call|contact)",
)


def vote(contact: ContactView) -> str | None:
    return "yes" if contact.customer.mentions(*_AGAIN) or contact.agent.mentions(*_NOTE) else None
