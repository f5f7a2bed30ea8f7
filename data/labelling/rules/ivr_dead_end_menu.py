"""The menu itself gives up: no such option, not understood again, goodbye without an answer."""

from data.labelling.view import ContactView

LABEL = "friction_ivr_dead_end"
EXAMPLES = [
    ({"system": "Sorry, that is not a valid option. Goodbye.", "channel": "ivr"}, "yes"),
    (
        {
            "system": "we did not understand your choice, returning to the main menu",
            "channel": "ivr",
        },
        "yes",
    ),
    ({"system": "all our lines are closed, please visit our website", "channel": "ivr"}, "yes"),
    ({"system": "your balance is forty pounds, thank you for calling", "channel": "ivr"}, None),
    ({"customer": "goodbye"}, None),
]

_GIVES_UP = (
    "(?:not|no|[a-z]+n't) (?:a )?(?:valid|recogni[sz]ed?|understand|understood|available|able to|"
    "possible|find|match)",
    "invalid",
    "could not be [a-z]+",
    "(?:ended|ends|end) without",
    "exhausted",
    "nobody (?:is )?available",
    "no agent",
    "no (?:further|other|more|such|agents?|options?)",
    "(?:main menu|start) again",
    "(?:return|going|back)(?:ing)? to the (?:main )?menu",
    "main menu",
    "dead end",
    "(?:lines|office|centre|we) (?:is|are) (?:now )?closed",
    "visit (?:our|the) (?:website|site|web)",
    "(?:our|the) (?:website|app|web page)",
    "no match",
    "attempts exceeded",
    "try again later",
    "end of menu",
    "cannot help",
)


def vote(contact: ContactView) -> str | None:
    return "yes" if contact.system.mentions(*_GIVES_UP) else None
