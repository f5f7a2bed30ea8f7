"""Words of anger, disappointment and being fed up."""

from data.labelling.view import ContactView

LABEL = "sentiment"
EXAMPLES = [
    ({"customer": "this is ridiculous, i am fed up with you"}, "negative"),
    ({"customer": "what a joke. absolutely useless!"}, "negative"),
    ({"customer": "i am not angry, i only want to know"}, None),
    ({"customer": "when is it coming"}, None),
]

_ANGRY = (
    "ridiculous",
    "unacceptable",
    "fed up",
    "angry",
    "furious",
    "annoy(?:ed|ing)",
    "frustrat(?:ed|ing|ion)",
    "disappoint(?:ed|ing|ment)",
    "useless",
    "terrible",
    "awful",
    "horrible",
    "appalling",
    "disgust(?:ed|ing)",
    "disgrace(?:ful)?",
    "shambles",
    "shame(?:ful)?",
    "joke",
    "worst",
    "pathetic",
    "nightmare",
    "had enough",
    "sick (?:of|and tired)",
    "waste of (?:my )?time",
    "hopeless",
    "rubbish",
    "unbelievable",
    "outrageous",
    "scandal(?:ous)?",
    "(?:not|never|[a-z]+n't) (?:[a-z]+ )?(?:good enough|happy|impressed|acceptable|satisfied)",
    "unhappy",
    "upset",
    "rude",
    "lost (?:my )?patience",
    "hate",
    "poor (?:service|show)",
    "wtf",
    "damn",
    "hell",
    "stupid",
    "tired of",
    "can't believe",
    "beyond belief",
    "how (?:hard|difficult) can",
    "not listening",
    "what (?:am i|are we|do i) (?:even )?(?:paying|pay)",
    "nobody (?:listens|cares|helps)",
)


def vote(contact: ContactView) -> str | None:
    words = contact.customer
    return (
        "negative"
        if words.affirms(*_ANGRY)
        or words.mentions(
            "(?:not|never|[a-z]+n't) (?:[a-z]+ )?(?:good enough|happy|impressed|acceptable|"
            "satisfied)"
        )
        else None
    )
