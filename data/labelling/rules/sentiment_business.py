"""Neither praise nor anger anywhere: a plain matter."""

LABEL = "sentiment"
EXAMPLES = [
    ({"customer": "hello, i want to change my address", "agent": "done"}, "neutral"),
    ({"customer": "my bill is wrong again, this is unacceptable"}, None),
    ({"customer": "brilliant, thank you so much"}, None),
    ({"agent": "hello"}, None),
]

_MOOD = (
    "ridiculous", "unacceptable", "fed up", "angry", "furious", "annoy(?:ed|ing)", "frustrat(?:ed|ing|ion)", "disappoint(?:ed|ing)", "useless", "terrible", "awful", "disgust(?:ed|ing)", "disgrace(?:ful)?",
    "joke", "worst", "enough", "sick of", "waste", "hopeless", "unbelievable", "unhappy", "upset", "patience", "happy", "pleased", "brilliant", "wonderful", "excellent", "fantastic", "amazing", "perfect", "lovely",
    "helpful", "great", "so much", "a lot", "appreciate", "love", "star", "complaint", "impressed", "quick", "finally", "still", "hours", "ages",
)  # fmt: skip


def vote(contact):
    return "neutral" if "customer" in contact.roles and len(contact.customer) >= 5 and not contact.customer.mentions(*_MOOD) else None
