"""The agent may not: somebody above has to agree."""

from data.labelling.view import ContactView

LABEL = "barrier"
EXAMPLES = [
    ({"agent": "I would need my manager's approval for that"}, "authority"),
    ({"agent": "that is above my limit, i am not allowed to decide it"}, "authority"),
    ({"agent": "my manager says hello"}, None),
    ({"customer": "i want to speak to your manager", "agent": "all done"}, None),
]

_MAY_NOT = (
    "(?:need|needs|require|requires|wait for|get|ask for|without|have to get|awaiting|requested) "
    "(?:[a-z']+ "
    "){0,3}(?:approval|authori[sz]ation|permission|sign off|go ahead|agreement|authority)",
    "(?:manager|supervisor|team leader|team lead|line manager|superior)(?:'s)? (?:[a-z]+ )?(?:has "
    "to|have to|must|"
    "needs to|would have to|approval|to approve|to sign|will have to|permission|can|decides?|sign|"
    "okay)",
    "(?:ask|asked|check with|speak to|consult|refer (?:it|this) to) (?:my|a|the) (?:[a-z]+ "
    ")?(?:manager|supervisor|"
    "team leader|superior|boss)",
    "(?:not|[a-z]+n't) (?:[a-z]+ )?(?:allowed|authori[sz]ed|permitted|entitled|empowered) to",
    "(?:above|over|beyond|outside|exceeds) (?:my|the) (?:[a-z]+ )?(?:limit|authority|level|remit|"
    "powers?|grade)",
    "(?:no|don't have|do not have|haven't|lack) (?:the )?(?:authority|permission|authori[sz]ation|"
    "power)",
    "(?:only|just) (?:a|my|the) (?:[a-z]+ )?(?:manager|supervisor)",
    "(?:not|isn't) (?:my|mine) (?:[a-z]+ )?(?:decision|call)",
    "needs? approval",
    "(?:above|beyond|more than) what i (?:can|may|could|am allowed to)",
    "can(?:'t|not| not) (?:decide|approve|authori[sz]e|sign)",
    "approval (?:from|needed|required|pending)",
)


def vote(contact: ContactView) -> str | None:
    return "authority" if contact.agent.mentions(*_MAY_NOT) else None
