"""In writing, the agent's answer holds a telephone number or names the hotline."""

from data.labelling.view import ContactView

LABEL = "friction_please_call"
EXAMPLES = [
    ({"agent": "You can reach us on 0800 555 0199.", "channel": "email"}, "yes"),
    ({"agent": "your reference is 5512", "channel": "email"}, None),
    ({"agent": "you can reach us on 0800 555 0199", "channel": "phone"}, None),
]


def vote(contact: ContactView) -> str | None:
    number = contact.agent.mentions(
        "(?:0[0-9]{2,4}|[+]?1) ?[0-9]{3} ?[0-9]{3,4}", "0[0-9]{9,10}", "hotline", "helpline"
    )
    return "yes" if contact.written and number else None
