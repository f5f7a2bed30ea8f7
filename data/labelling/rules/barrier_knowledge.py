"""The agent does not know."""

LABEL = "barrier"
EXAMPLES = [
    ({"agent": "I'm not sure how that works, I've never had that before"}, "knowledge"),
    ({"agent": "i'll have to ask a colleague who knows about this"}, "knowledge"),
    ({"agent": "i don't know where you live, what is your postcode"}, None),
    ({"customer": "i don't know", "agent": "no problem"}, None),
]

_KNOWS_NOT = (
    "(?:not|[a-z]+n't) (?:[a-z]+ )?(?:sure|certain|familiar|know|understand|trained|aware|remember) (?:[a-z]+ )?(?:how|what|why|if|whether|about|which|with|on|enough|myself|of|this|that|the (?:answer|details|process))",
    "don't (?:actually |really |honestly )?know", "no (?:idea|clue)", "(?:never|not|[a-z]+n't) (?:[a-z]+ )?(?:had|seen|heard|come across|done|dealt|learned|learnt|been (?:trained|told|shown)) (?:[a-z]+ )?(?:that|this|of|anything|such|one|it|before|how|on|about|with|a case)",
    "(?:new|just started) (?:here|in|to|on)", "(?:ask|check with|find) (?:[a-z]+ )?(?:a |another |my )?(?:colleague|someone|somebody|expert|specialist)", "(?:look|looking) (?:it|that|this) up", "knowledge ?base", "(?:i|we)'d (?:be|only be) guessing",
    "(?:did not|didn't|unsure|not) know", "unsure", "need(?:ed|s)? (?:more )?training", "(?:nothing|not|isn't|no article) [a-z ]*(?:in|on) (?:the|my|our) (?:guide|manual|notes|knowledge|documentation)",
)  # fmt: skip
_ASKS = ("(?:not|[a-z]+n't) know (?:where|who) you", "your (?:postcode|date of birth)")


def vote(contact):
    return "knowledge" if contact.agent.mentions(*_KNOWS_NOT) and not contact.agent.mentions(*_ASKS) else None
