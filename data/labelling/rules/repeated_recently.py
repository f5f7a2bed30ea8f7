"""The same customer was in touch a few days ago."""

LABEL = "friction_repeated_contact"
EXAMPLES = [
    ({"contacts_before": 1, "hours_since_last": 20.0}, "yes"),
    ({"contacts_before": 0, "hours_since_last": 900.0}, None),
    ({}, None),
]


def vote(contact):
    return "yes" if contact.contacts_before >= 1 else None
