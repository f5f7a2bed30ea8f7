"""The agent does not know."""

from data.labelling.view import ContactView

LABEL = "barrier"
EXAMPLES = [
    ({"agent": "I'm not sure how that works, I've never had that before"}, "knowledge"),
    ({"agent": "i'll have to ask a colleague who knows about this"}, "knowledge"),
    ({"agent": "i don't know where you live, what is your postcode"}, None),
    ({"customer": "i don't know", "agent": "no problem"}, None),
]

_KNOWS_NOT = (
    "(?:not|[a-z]+n't) (?:[a-z]+ )?(?:sure|certain|familiar|know|understand|trained|aware|"
    "remember) (?:[a-z]+ "
    ")?(?:how|what|why|if|whether|about|which|with|on|enough|myself|of|this|that|the (?:answer|"
    "details|process))",
    "don't (?:actually |really |honestly )?know",
    "no (?:idea|clue)",
    "(?:never|not|[a-z]+n't) (?:[a-z]+ )?(?:had|seen|heard|come across|done|dealt|learned|learnt|"
    "been (?:trained|"
    "told|shown)) (?:[a-z]+ )?(?:that|this|of|anything|such|one|it|before|how|on|about|with|a "
    "case)",
    "(?:new|just started) (?:here|in|to|on)",
    "(?:ask|check with|find) (?:[a-z]+ )?(?:a |another |my )?(?:colleague|someone|somebody|expert|"
    "specialist)",
    "(?:look|looking) (?:it|that|this) up",
    "knowledge ?base",
    "(?:i|we)'d (?:be|only be) guessing",
    "(?:did not|didn't|unsure|not) know",
    "unsure",
    "need(?:ed|s)? (?:more )?training",
    "(?:nothing|not|isn't|no article) [a-z ]*(?:in|on) (?:the|my|our) (?:guide|manual|notes|"
    "knowledge|documentation)",
)
_NOTED = (
    "(?:agent |i |we )?(?:did not|didn't|does not|doesn't) know (?:how|the|what to|whom|who|which)",
    "unsure (?:how|what|about|of)",
    "not (?:trained|familiar|sure how)",
    "no (?:idea|clue) how",
    "(?:never|not) (?:seen|had) (?:this|that|it) before",
    "(?:had|have|need(?:ed|s)?) to (?:ask|look (?:it )?up|check with)",
    "training (?:needed|gap|missing)",
    "lack(?:ed|s|ing)? (?:of )?(?:knowledge|information|training)",
    "not (?:in|on) (?:the )?(?:knowledge ?base|guide|manual)",
)
_ASKS = ("(?:not|[a-z]+n't) know (?:where|who) you", "your (?:postcode|date of birth)")


def vote(contact: ContactView) -> str | None:
    if contact.note.text:  # a note quotes the customer, who may well not know
        return "knowledge" if contact.note.mentions(*_NOTED) else None
    return (
        "knowledge"
        if contact.agent.mentions(*_KNOWS_NOT) and not contact.agent.mentions(*_ASKS)
        else None
    )
