"""What the agent does about it tells what it was about."""

from data.labelling.view import ContactView

LABEL = "reason"
EXAMPLES = [
    (
        {"agent": "I have taken that charge off and you will see the credit on your next bill"},
        "billing",
    ),
    ({"agent": "our engineers are working in your area, service will be back by six"}, "outage"),
    ({"agent": "i am sorry to see you go, your contract ends on friday"}, "cancel"),
    ({"agent": "please unplug the router for thirty seconds"}, "technical"),
    ({"agent": "good morning, how can i help"}, None),
    ({"agent": "i can not give you a refund, but i have cancelled your contract"}, "cancel"),
]

_ACTIONS = {
    "billing": (
        "credit",
        "credited",
        "refund",
        "refunded",
        "corrected (?:the|your|that) (?:bill|invoice)",
        "charge off",
        "(?:taken|take|removed|remove) (?:that|the|this) (?:charge|fee)",
        "(?:new|corrected) (?:bill|invoice)",
        "off your (?:next )?bill",
        "(?:bill|invoice|charge) (?:is|was) (?:now )?(?:correct|corrected|right|removed)",
    ),
    "outage": (
        "(?:engineers?|teams?|crew) (?:is|are) (?:working|on it|on site)",
        "in your area",
        "known (?:fault|outage|issue)",
        "(?:service|connection|everything) (?:is|will be|should be|has been) (?:back|restored)",
        "restored",
        "outage",
    ),
    "cancel": (
        "sorry to (?:see|hear) (?:you go|you are leaving|you're leaving)",
        "(?:contract|account|service) (?:ends|will end|is closed)",
        "(?:cancelled|cancelling|closed|ended|terminated) (?:your|the|that|it)",
        "final bill",
        "notice period",
    ),
    "upgrade": (
        "(?:upgraded|added|moved you)",
        "(?:new|your) (?:plan|package|speed) (?:is|will be|starts) (?:active|live|on|from|"
        "tomorrow)",
        "welcome to",
        "you are now on",
        "starts? (?:today|tomorrow|right away|on the)",
    ),
    "technical": (
        "(?:restart|reboot|unplug|reset|plug)(?:ed|ting)?",
        "(?:settings|firmware|signal|line test|software|channel)",
        "(?:ran|run|running) (?:a )?test",
        "reset (?:your|the|it)",
        "(?:try|test) (?:it )?(?:again|now)",
    ),
    "delivery": (
        "(?:tracking|courier|parcel|delivery|delivered|replacement|dispatch(?:ed)?|shipped)",
        "(?:new|another) (?:engineer|appointment|slot|one (?:today|tomorrow|out))",
        "on its way",
        "with you (?:by|on|tomorrow)",
    ),
    "payment": (
        "payment (?:has|is|was|went|plan)",
        "(?:taken|took|received) (?:your|the) payment",
        "payment (?:date|link)",
        "split (?:it|the|your)",
        "card (?:is|has been|details)",
        "direct debit",
        "paid up",
        "instalments?",
    ),
    "complaint": (
        "(?:your|the|a|formal) complaint",
        "(?:manager|supervisor) (?:will|to) (?:call|contact|speak)",
        "compensation",
        "(?:feedback|apology) (?:to|from|will)",
        "goodwill",
    ),
    "other": (
        "(?:address|name|number|details|email) (?:is|has been|are|have been) (?:updated|changed|"
        "on file|saved)",
        "(?:updated|changed|saved|noted) (?:your|the) (?:[a-z]+ )?(?:address|name|number|details|"
        "email|preferences)",
        "sent (?:you )?(?:a|the) copy",
        "we(?: a|')re open",
    ),
}


def vote(contact: ContactView) -> str | None:
    done = [reason for reason, patterns in _ACTIONS.items() if contact.agent.affirms(*patterns)]
    return done[0] if len(done) == 1 else None
