"""No menu took part, so none can have been a dead end."""

from data.labelling.view import ContactView

LABEL = "friction_ivr_dead_end"
EXAMPLES = [
    ({"customer": "hello, where is my parcel", "agent": "let me look", "channel": "chat"}, "no"),
    (
        {
            "customer": "your menu is useless, it went round in circles",
            "agent": "sorry",
            "channel": "phone",
        },
        None,
    ),
    ({"system": "press one for bills", "channel": "ivr"}, None),
    ({"channel": "phone"}, None),
]


def vote(contact: ContactView) -> str | None:
    spoken_of = contact.customer.mentions(
        "menu", "machine", "robot", "press(?:ed|ing)?", "options?", "automated"
    )
    no_menu = bool(contact.roles) and "system" not in contact.roles and contact.channel != "ivr"
    return "no" if no_menu and not spoken_of else None
