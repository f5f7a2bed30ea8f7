"""The customer wants to end the contract, close the account or leave; a denial is no vote."""

from data.labelling.view import ContactView

LABEL = "reason"
EXAMPLES = [
    ({"customer": "I want to cancel my contract"}, "cancel"),
    ({"customer": "how do i close my account, i am moving to another provider"}, "cancel"),
    ({"customer": "please don't cancel my subscription, i only want a new card"}, None),
    ({"customer": "the engineer cancelled the appointment"}, None),
    ({"customer": "my picture is gone"}, None),
]

_END = (
    "(?:to|please|can you|just|will|would|i'll|calling to|could you|and) (?:cancel|terminate|"
    "disconnect)",
    "cancel(?:ling|ing)? (?:my|the|our|this|everything|it all|all)",
    "cancellation",
    "(?:delete|remove) my account",
    "close (?:down|out) my",
    "(?:end|ending|close|closing|terminate|terminating|stop|get out of) (?:my|the|our|this) "
    "(?:[a-z]+ "
    ")?(?:contract|account|subscription|service|plan|agreement|line)",
    "(?:want|wants|like|need|going|decided) to (?:leave|quit|end it)",
    "i(?: a|')m leaving",
    "we(?: a|')re leaving",
    "cancel it",
    "give (?:you )?(?:my )?notice",
    "(?:another|different|other|new) (?:provider|supplier|company|operator)",
    "switch(?:ing)? to",
    "(?:not|[a-z]+n't) (?:want to )?(?:renew|extend|continue)",
    "moving to (?:your|a) competitors?",
    "somewhere else",
    "leave you",
)


def vote(contact: ContactView) -> str | None:
    return (
        "cancel"
        if contact.about.affirms(*_END) or contact.about.mentions("(?:not|[a-z]+n't) want to renew")
        else None
    )
