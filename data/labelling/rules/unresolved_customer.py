"""The customer's last words: content, or not helped."""

from data.labelling.view import ContactView

LABEL = "friction_unresolved"
EXAMPLES = [
    ({"customer": "perfect, that works, thank you"}, "no"),
    ({"customer": "so you can't help me then"}, "yes"),
    ({"customer": "fine, i will try somebody else"}, "yes"),
    ({"customer": "okay"}, None),
]

_NOT_HELPED = (
    "(?:can't|cannot|won't|couldn't|didn't|did not|not) (?:[a-z]+ )?(?:help|helped|solve|fix|"
    "acceptable|good "
    "enough|an answer)",
    "no (?:help|use|good)",
    "useless",
    "ridiculous",
    "waste of (?:my )?time",
    "(?:still|again) (?:not|no|nothing|broken|waiting)",
    "what now",
    "so (?:nothing|nobody|no one)",
    "(?:somebody|someone|somewhere) else",
    "not (?:happy|satisfied|good)",
    "unacceptable",
    "(?:had|have) enough",
    "fed up",
    "joke",
    "call (?:back )?again",
    "i(?:'ll| will) (?:leave|cancel|go)",
    "disappoint(?:ed|ing)",
)
_CONTENT = (
    "(?:perfect|great|brilliant|wonderful|excellent|fantastic|lovely|superb|amazing)",
    "that(?:'s| is| was)? (?:all|works|worked|helps|helped|great|what i (?:needed|wanted)|sorted|"
    "so kind|fast|quick)",
    "you(?:'ve| have)? (?:been )?(?:so |very |really )?(?:helpful|kind|a star)",
    "thank you (?:so|very) much",
    "much appreciated",
    "appreciate",
    "exactly what",
    "happy with",
    "really helpful",
)


def vote(contact: ContactView) -> str | None:
    ending = contact.ending
    if ending.mentions(*_NOT_HELPED):
        return "yes"
    return "no" if ending.affirms(*_CONTENT) else None
