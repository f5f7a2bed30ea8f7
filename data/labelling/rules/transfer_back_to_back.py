"""The agent's side speaks twice in a row in the middle of a call: two people, or a hold."""

LABEL = "friction_transfer"
EXAMPLES = [
    ({"turns": [("agent", "hi"), ("customer", "my bill"), ("agent", "one moment"), ("agent", "hello, bob here"), ("customer", "yes")]}, "yes"),
    ({"turns": [("agent", "hi"), ("customer", "my bill"), ("agent", "sure"), ("customer", "thanks")]}, None),
    ({"turns": [("agent", "hi"), ("agent", "hello")], "channel": "chat"}, None),
]  # fmt: skip


def vote(contact):
    if contact.channel != "phone":
        return None
    inner = contact.roles[1:-1]
    pairs = zip(inner, inner[1:], strict=False)
    return "yes" if any(pair == ("agent", "agent") for pair in pairs) else None
