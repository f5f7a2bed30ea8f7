"""The agent apologises for the trouble or notes down the mood: they have heard it."""

from data.labelling.view import ContactView

LABEL = "sentiment"
EXAMPLES = [
    ({"agent": "I'm so sorry about this, I completely understand your frustration"}, "negative"),
    ({"agent": "customer very upset"}, "negative"),
    ({"agent": "customer was happy with that"}, "positive"),
    ({"agent": "sorry, could you repeat the number"}, None),
]

_CALMS = (
    "understand (?:your|that you(?:'re| are)|why you(?:'re| are)|how) (?:[a-z]+ "
    ")?(?:frustrat(?:ion|ed|ing)|upset|"
    "anger|angry|annoy(?:ed|ing)|concern|feel(?:ing)?|disappoint(?:ed|ment))",
    "(?:so|very|really|truly|terribly|awfully) sorry (?:about|for|to hear|that)",
    "sorry (?:to hear|for the (?:trouble|inconvenience|hassle|bother)|you(?:'ve| have) had|about "
    "all)",
    "(?:hear|see|tell|sense) (?:that )?you(?:'re| are) (?:[a-z]+ )?(?:upset|angry|annoyed|"
    "frustrated|unhappy)",
    "not how it should be",
    "must be (?:[a-z]+ )?(?:frustrating|annoying|upsetting)",
    "(?:customer|cust|caller) (?:was |is |very |quite |got |really |extremely )*(?:upset|angry|"
    "annoyed|unhappy|"
    "frustrated|furious|rude|irate|dissatisfied|cross)",
    "not happy",
    "(?:very|quite|really|extremely|rather) (?:unhappy|angry|upset|annoyed|cross|dissatisfied)",
    "raised (?:his|her|their) voice",
    "i (?:do |sincerely |really )?apologi[sz]e for (?:the|all|this|what)",
)
_PLEASED = (
    "(?:customer|cust|caller) (?:was |is |very |quite |really |left )*(?:happy|pleased|satisfied|"
    "friendly|grateful|"
    "thankful|delighted)",
    "happy customer",
    "(?:very|really|quite|so) (?:friendly|happy|pleased|nice|grateful)",
    "thanked (?:us|me)",
    "friendly (?:call|chat|customer)",
    "glad (?:i|we|that|to hear)",
)


def vote(contact: ContactView) -> str | None:
    if contact.agent.mentions(*_CALMS):
        return "negative"
    return "positive" if contact.agent.affirms(*_PLEASED) else None
