"""What people say and write in the simulated contact centre: templates, no logic.

`(a|b|)` is a choice, `{slot}` is filled in by talk.py, `<rule>` is another entry. Commas guide the
voice and are not part of a transcript. The company is Lumora, which sells FibreMax broadband, the
OptiHub router, StreamBox television, RoamPass and the SafeLine alarm.
"""

from __future__ import annotations

PRODUCTS = ("fibremax", "optihub", "streambox", "roampass", "safeline")
TEAMS = (
    "billing",
    "technical support",
    "retentions",
    "the sales desk",
    "field services",
    "second line",
)
FIRST_NAMES = (
    "maria",
    "james",
    "aisha",
    "oliver",
    "priya",
    "daniel",
    "grace",
    "tomas",
    "helen",
    "samuel",
    "nadia",
    "peter",
    "lucy",
    "ahmed",
    "ruth",
    "victor",
    "emma",
    "george",
    "irene",
    "leon",
    "sofia",
    "martin",
    "clara",
    "owen",
)
LAST_NAMES = (
    "carter",
    "novak",
    "hughes",
    "silva",
    "bennett",
    "okafor",
    "lindgren",
    "patel",
    "moreau",
    "walsh",
    "kim",
    "fraser",
    "doyle",
    "rossi",
    "hansen",
    "mensah",
    "turner",
    "weber",
    "castillo",
    "young",
)
MONTHS = (
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
)
WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday")

RULES: dict[str, tuple[str, ...]] = {
    "hello": (
        "hello",
        "hi",
        "hi there",
        "good morning",
        "good afternoon",
        "hey",
        "yes hello",
        "oh hi",
    ),
    "my service": (
        "my {product}",
        "the {product}",
        "my broadband",
        "the internet",
        "my line",
        "the {product} box",
    ),
    "wants": ("i'd like", "i want", "i need", "i would like", "i was hoping"),
    "thanks": ("thank you", "thanks", "thank you so much", "thanks a lot", "cheers", "many thanks"),
    "sorry": ("i'm sorry", "i am very sorry", "apologies", "sorry about that", "i do apologise"),
    "moment": (
        "one moment",
        "just a moment please",
        "bear with me",
        "give me a second",
        "let me have a look",
    ),
}

# --- what it is about
# ----------------------------------------------------------------------------------------------
OPENING: dict[str, tuple[str, ...]] = {
    "billing": (
        "(my|the latest|this month's) bill is (wrong|too high|higher than it should be|not what i "
        "agreed to)",
        "i've been charged {amount} (twice|and i don't know why|for something i did not order)",
        "i have a question about (my bill|my last invoice|a charge on my account)",
        "you have billed me {amount} instead of {amount2}",
        "there's a charge of {amount} on my (bill|statement|invoice) that i don't recognise",
        "my bill (went up|has gone up|jumped) from {amount2} to {amount}",
        "why (am i paying|did you charge me) {amount} this month",
        "i never agreed to pay {amount} for the {product}",
        "i was told i'd get {amount2} off and (it's not there|i can't see it|nothing has come off)",
    ),
    "outage": (
        "(the internet|everything|<my service>) is (down again|off|dead) (in our street|since "
        "{weekday}|)",
        "there's no (signal|connection|service) at all (since {weekday}|since this morning|for "
        "hours now)",
        "is there an outage in (my area|{place}|our postcode)",
        "we have had no (internet|service|broadband) since {weekday}",
        "all the lights on the optihub went red and (the neighbours are off too|nobody on our "
        "road has internet)",
        "(the whole street|all of {place}) has lost its connection",
    ),
    "cancel": (
        "<wants> to (cancel|end|terminate) (my contract|my {product}|my account|everything)",
        "i'm calling to cancel",
        "please cancel my {product} (from the {date}|as soon as possible|today)",
        "i'm leaving (lumora|you), (i found something cheaper|i've had enough|the others offer "
        "{amount2})",
        "how do i (get out of my contract|close my account|give notice)",
        "i've decided to switch to (another provider|somebody else), so please stop my {product}",
        "i don't want to renew my {plan} plan, (it should end|please end it) on the {date}",
    ),
    "upgrade": (
        "<wants> to (upgrade|move up|change) to the {plan} plan",
        "can i (add|get) the {product} (to my package|on my account|as well)",
        "i'm interested in (a faster line|more speed|the {plan} plan|the new {product})",
        "what would it cost to (upgrade|go up to {plan}|add {product})",
        "i saw the offer for {product} at {amount} and <wants> to (take it|sign up|have it)",
        "we need a bigger package, (the kids are online all day|i work from home now)",
    ),
    "technical": (
        "<my service> (keeps dropping|keeps cutting out|is very slow|won't connect|does not start)",
        "i can't (get online|log in to my account|connect the {product}|get a picture on the "
        "streambox)",
        "the optihub (does not work|isn't working|keeps restarting|shows a red light)",
        "my {product} (stopped working|hasn't worked properly) (on {weekday}|since {weekday}|"
        "after the update)",
        "the wifi (does not reach|drops in) the (bedroom|kitchen|office)",
        "i'm only getting {small} megabits (and i pay for more|on fibremax|)",
        "the {product} (gives me|shows) error {small}",
    ),
    "delivery": (
        "my {product} (has not arrived|never arrived|still isn't here|hasn't been delivered)",
        "where is my (order|parcel|new {product}|delivery)",
        "the (courier|driver|delivery) (did not come|never turned up|left it with a stranger)",
        "i ordered {product} on the {date} and (nothing has come|it's not here yet)",
        "the engineer (didn't show up|did not come) on {weekday} (to install the {product}|)",
        "you sent me the wrong {product}",
    ),
    "payment": (
        "my (payment|direct debit|card payment) (did not go through|was declined|failed|has "
        "bounced)",
        "<wants> to (pay my bill|make a payment|pay {amount} now)",
        "can i (pay later|pay in two parts|have more time to pay|set up a payment plan)",
        "i've changed my bank, so (the direct debit needs changing|i need to update my card)",
        "i already paid {amount} on the {date} and (it's not showing|you say i did not)",
        "you took the money (twice|on the wrong day|from my old account)",
    ),
    "complaint": (
        "<wants> to (make|file|raise) a (formal |)complaint",
        "i'm calling to complain about (the way i was treated|your service|the engineer|how this "
        "was handled)",
        "(who do i speak to|where do i go) (to complain|about a complaint)",
        "this is a complaint, (nobody does what they promise|i've been lied to|you broke your "
        "promise)",
        "i'm really unhappy with (how i've been treated|the service|lumora) and i want it on "
        "record",
    ),
    "other": (
        "i'm moving house (on the {date}|next month|) and need to (change my address|tell you|"
        "know what to do)",
        "i need to (change my address|change the name on my account|update my email)",
        "can you (tell me when my contract ends|send me a copy of my contract|confirm my plan)",
        "i just have a (quick|general) question about (roampass|my account|your opening hours)",
        "i got a letter from you and i (don't understand it|do not know what it means)",
        "<wants> to know (if roampass works abroad|what's in my package|who my contact is)",
    ),
}

DETAIL: dict[str, tuple[str, ...]] = {
    "billing": (
        "it should be {amount2}, not {amount}",
        "i pay {amount2} every month and now it's {amount}",
        "i did not order any {product}, so i won't pay for it",
        "it's on the bill from the {date}",
        "the discount was {amount2} for {small} months",
        "nobody told me the price would go up",
    ),
    "outage": (
        "it went off at about {hour}",
        "i work from home, so i can't do anything",
        "i've restarted the optihub {small} times",
        "it isn't only me, next door is off as well",
        "your page says there's no fault but there is",
    ),
    "cancel": (
        "no, i don't want another offer",
        "i've been with you {small} years",
        "the other company asks {amount2}",
        "my contract ended on the {date}",
        "i'm not changing my mind",
        "i pay {amount} and it's not worth it",
    ),
    "upgrade": (
        "i'm on the {plan} plan at the moment",
        "i don't want a longer contract though",
        "the advert said {amount} a month",
        "we are {small} people in the house",
        "i'd need it by the {date}",
    ),
    "technical": (
        "i've turned it off and on again, it did not help",
        "it drops about {small} times a day",
        "it worked until {weekday}",
        "the light is red, not green",
        "it's not the cable, i have tried another one",
        "your app says error {small}",
    ),
    "delivery": (
        "the order was placed on the {date}",
        "i stayed at home all {weekday}",
        "the tracking number doesn't work",
        "i was told it would take {small} days",
        "nobody rang the bell, i was here",
    ),
    "payment": (
        "it's {amount}",
        "i don't get paid until the {date}",
        "my card ends in {four}",
        "the bank says it isn't their fault",
        "i did not cancel the direct debit",
    ),
    "complaint": (
        "it has been going on for {small} weeks",
        "your colleague promised me {amount} back",
        "i was not listened to at all",
        "i've got it in writing from the {date}",
        "this isn't how you treat people",
    ),
    "other": (
        "the new address is in {place}",
        "it's from the {date}",
        "it's not urgent",
        "i couldn't find it on your website",
        "my old number was {four}",
    ),
}

SOLVED: dict[str, tuple[str, ...]] = {
    "billing": (
        "i've (taken off|removed|credited) the {amount}, (your next bill will be|it's now) "
        "{amount2}",
        "you're right, that charge was a mistake, i've refunded {amount}",
        "i have corrected your bill, it's {amount2} now",
    ),
    "outage": (
        "(the engineers|our engineers) have just fixed it, can you check (the light|your optihub)",
        "your line is back up now, i can see it from here",
        "it's been repaired, and i've credited {amount2} for the lost days",
    ),
    "cancel": (
        "i've cancelled it, your last day is the {date}",
        "that's done, your contract ends on the {date} and there's no fee",
        "your cancellation is confirmed, you will get an email today",
    ),
    "upgrade": (
        "you're on {plan} (from today|from the {date}) for {amount} a month",
        "i've added {product} for you, it's active now",
        "all done, the upgrade to {plan} is booked",
    ),
    "technical": (
        "i've reset your line, is it working now",
        "the optihub has the new software now, and your speed looks fine",
        "i changed the channel of your wifi, that should fix it, and i can see it's stable",
    ),
    "delivery": (
        "your {product} will be there on {weekday}, i've booked it with the courier",
        "i've found your parcel, it arrives tomorrow before {hour}",
        "a new {product} is on its way, express, at no charge",
    ),
    "payment": (
        "your payment of {amount} has gone through",
        "i've moved your payment to the {date}, there's no fee",
        "i have updated your direct debit, everything is in order",
    ),
    "complaint": (
        "i've registered your complaint and credited {amount}, a manager has signed it off",
        "i've put it right and you'll get a written apology",
        "you have every right to complain, i've refunded {amount} and it won't happen again",
    ),
    "other": (
        "that's all changed for you now",
        "i've sent it to your email, you should have it",
        "your contract runs until the {date}, and your address is updated",
    ),
}

# --- friction, barriers, mood
# --------------------------------------------------------------------------------------
REPEATED = (
    "this is the (second|third|fourth) time i'm (calling|asking|contacting you) about this",
    "i've (already called|called before|been in touch before|already written to you) about (this|"
    "it)",
    "i'm calling (again|back) about the same (thing|problem|issue)",
    "i spoke to (someone|your colleague) (on {weekday}|last week) and it's still not (sorted|"
    "fixed|done)",
    "nobody called me back",
    "it still hasn't been (fixed|resolved|dealt with)",
    "(once|yet) again i have to chase you",
    "how many times do i have to explain this",
)
WAITED = (
    "i've been (waiting|on hold) for (ages|over half an hour|{small} minutes)",
    "i waited {small} minutes to get through",
    "it took forever to (reach|get hold of) anyone",
    "that was a very long wait",
    "i was in the queue for {small} minutes",
)
FOUGHT_MENU = (
    "i had to press zero to get a (person|human)",
    "your menu (is useless|doesn't have my problem), i just pressed zero",
    "the (machine|robot|menu) did not understand me",
    "i couldn't get past your (menu|automated system)",
)
BARRIER: dict[str, tuple[str, ...]] = {
    "authority": (
        "i'm not (allowed|authorised|permitted) to (do that|give you that|approve this)",
        "i don't have the authority to (change it|waive the fee|refund that)",
        "only (my manager|a supervisor|the back office) can (approve|decide|sign off) (that|this)",
        "i'd need (a manager|my supervisor) to approve that, and (she's|he's|they're) not here",
        "that's above what i can (decide|give) myself",
    ),
    "knowledge": (
        "i'm not sure (how that works|what that means|to be honest)",
        "i don't know (the answer to that|why that is), i'm afraid",
        "i've never (seen that before|had this before)",
        "i'd have to ask (someone|a colleague), i haven't been trained on that",
        "i can't tell you, i honestly don't know",
    ),
    "tool": (
        "my system (won't let me|doesn't let me|is down|is very slow today)",
        "the system is not (showing|loading) your account",
        "i can't see (that|your order|your history) on my screen",
        "the tool keeps (crashing|freezing), i can't (open|change) it",
        "my computer won't let me (save it|do that)",
    ),
    "policy": (
        "(i'm afraid |)our policy (doesn't allow|does not permit|says no to) that",
        "it's (against|not within) our (policy|rules)",
        "the terms and conditions say (no|{small} days), so i can't",
        "those are the rules, i'm afraid",
        "we don't make exceptions, that's company policy",
    ),
}
UNSOLVED = (
    "i can't (fix|solve|sort) that for you (today|right now|at the moment)",
    "somebody will (call|ring) you back (within {small} days|)",
    "i've made a note, but i can't promise anything",
    "you'll have to (wait|try again) (until {weekday}|next week|in a few days)",
    "there's nothing (more |)i can do (for you|about it|)",
    "i'll pass it on and we'll see",
    "i will raise a ticket, it may take {small} days",
)
TRANSFER = (
    "i'll (put you through|transfer you|pass you over) to {team}",
    "let me (transfer|connect) you to {team}",
    "that's not my department, i'm transferring you to {team}",
    "i need to hand you over to {team}",
)
PLEASE_CALL = (
    "(please|you will have to|you'll need to) call us on {hotline}",
    "we can't do that (here|in chat|in writing), (please call|you have to call) (us|our hotline|"
    "customer care)",
    "for that you need to (phone|ring|call) our team, {hotline}",
    "could you give us a call about this, we're on {hotline}",
    "this can only be done by phone, so please call us",
)
HOLD = (
    "i'm going to put you on hold for a moment",
    "can i put you on hold while i check",
    "please hold the line",
    "let me check with a colleague, hold on please",
)
ASK_ACCOUNT = (
    "can i (take|have) your account number please",
    "what's (your|the) account number",
    "could you (give|read) me your account number",
    "may i have your (customer|account) number and your name",
)
GIVE_ACCOUNT = (
    "it's {account}",
    "{account}",
    "yes, {account}",
    "my account number is {account}",
    "sure, it's {account}, {name}",
)
GREETING = (
    "(thank you for calling|thanks for calling|welcome to) lumora, (my name is|this is) {agent}, "
    "how can i help",
    "lumora (customer care|support), {agent} speaking, (how can i help|what can i do for you) "
    "(today|)",
    "(hello|good morning|good afternoon), you're through to {agent} at lumora, how may i help you",
)
GREETING_SECOND = (
    "hello, this is {agent} in {team}, i (see|understand) you were transferred",
    "{team}, {agent} speaking, how can i help",
    "hi, {agent} here, {team}, could you tell me again what it's about",
)
EMPATHY: dict[str, tuple[str, ...]] = {
    "negative": (
        "<sorry>, (i understand|i can hear) you're upset",
        "<sorry>, that's not how it should be",
        "i understand, <sorry>",
    ),
    "neutral": ("okay, <moment>", "right, <moment>", "of course, <moment>", "sure, let me see"),
    "positive": (
        "of course, happy to help",
        "no problem at all",
        "sure, that's easily done",
        "i can certainly do that for you",
    ),
}
MOOD: dict[str, tuple[str, ...]] = {
    "negative": (
        "this is (ridiculous|unacceptable|a joke|terrible|so frustrating)",
        "i'm (really angry|fed up|very disappointed|sick of this)",
        "that's (not good enough|just not fair|useless)",
        "(honestly|frankly), (this is the worst service|i'm losing my patience)",
        "you're not listening to me",
        "i can't believe this",
        "what am i even paying you for",
        "if this isn't sorted i'm going to leave",
    ),
    "neutral": (
        "okay",
        "right, okay then",
        "i see",
        "fine, if you say so",
        "alright, let me know",
        "okay, i'll wait for that",
        "all right then",
    ),
    "positive": (
        "that's (great|brilliant|perfect|wonderful|lovely), <thanks>",
        "oh (excellent|fantastic), that was quick",
        "you've been (really|so|very) helpful",
        "perfect, i'm (very happy|really pleased) with that",
        "that's exactly what i needed, <thanks>",
        "brilliant service, <thanks>",
    ),
}
AGENT_CLOSING = (
    "is there anything else",
    "thank you for calling lumora, goodbye",
    "have a nice day",
    "thanks for calling, bye",
    "take care, bye bye",
)
CUSTOMER_CLOSING: dict[str, tuple[str, ...]] = {
    "negative": (
        "no, goodbye",
        "forget it, bye",
        "no, that's all, what a waste of time",
        "right, bye",
    ),
    "neutral": (
        "no, that's all, thanks, bye",
        "no, that's it, bye",
        "okay, bye",
        "no thank you, goodbye",
    ),
    "positive": (
        "no, that's everything, <thanks>, bye",
        "<thanks>, have a lovely day, bye bye",
        "no, you've been great, bye",
    ),
}
LINE_CUT = (
    "hello, are you still (there|)",
    "hello, hello",
    "can you hear me",
    "i think we're being cut",
)
SMALL_TALK = (
    "no, it's not about my {product}, that one's fine",
    "i'm not cancelling or anything, i just want this sorted",
    "sorry, the dog is barking",
    "i did look on the website first",
    "i don't have much time",
    "i'm not very technical",
    "i've not changed anything on my side",
    "it's not the first bill i've had, you know",
)

# --- menus and messages
# --------------------------------------------------------------------------------------------
IVR_MENU = (
    "welcome to lumora, for bills press one, for faults press two, for anything else press three",
    "welcome to lumora, please say in a few words what you are calling about",
    "thank you for calling lumora, calls may be recorded, please choose from the following options",
)
IVR_TOPIC = {
    "billing": "bills and charges",
    "outage": "faults in your area",
    "cancel": "contract and notice",
    "upgrade": "new products",
    "technical": "technical help",
    "delivery": "orders and delivery",
    "payment": "payments",
    "complaint": "complaints",
    "other": "other questions",
}
IVR_END: dict[str, tuple[str, ...]] = {
    "served": (
        "{topic}, the information was played, caller confirmed, call completed",
        "your request has been completed, thank you, goodbye",
        "we have sent you the answer by text message, goodbye",
    ),
    "pressed_zero": (
        "caller pressed zero",
        "key zero pressed, connecting to an agent",
        "caller pressed zero zero zero, leaving the menu",
    ),
    "ivr_dead_end": (
        "this option is not available, returning to the main menu, dead end reached",
        "no further options, please use our website, goodbye",
        "your selection could not be processed, menu ended without an option",
        "all options exhausted, no agent available in this menu",
    ),
    "system_hangup": (
        "call ended by system",
        "the system disconnected the call",
        "timeout, call dropped by system",
        "line closed by system during menu",
    ),
}
CHAT_CUT = (
    "the chat was closed by the system",
    "connection lost, this chat has ended",
    "session timed out, chat closed by system",
)
EMAIL_GREETING = (
    "dear lumora team",
    "dear sir or madam",
    "hello lumora",
    "hi",
    "to whom it may concern",
)
EMAIL_CLOSING = (
    "kind regards, {name}",
    "regards, {name}",
    "best wishes, {name}",
    "{name}, account {account}",
)
AGENT_EMAIL_CLOSING = ("kind regards, {agent}, lumora", "best regards, {agent}", "your lumora team")
SOCIAL_START = (
    "@lumora",
    "hey @lumora",
    "@lumora seriously",
    "dear @lumora",
    "anyone else with @lumora",
)
NOTE_START = ("cust called re", "customer rang about", "inbound,", "caller about", "call re")
NOTE: dict[str, tuple[str, ...]] = {
    "solved": (
        "resolved on call",
        "sorted, customer happy with outcome",
        "done, no follow up",
        "fixed at first contact",
    ),
    "unresolved": (
        "not resolved",
        "could not solve, callback promised",
        "left open, ticket raised",
        "no solution today, to follow up",
    ),
    "transfer": ("transferred to {team}", "passed to {team}", "warm transfer to {team}"),
    "repeated_contact": (
        "repeat caller",
        "called before about same issue",
        "second contact on this",
        "chasing previous request",
    ),
    "long_wait": ("complained about the wait", "long queue before call", "had waited {small} min"),
    "system_hangup": ("line dropped", "call cut off by system", "disconnected mid call"),
    "authority": ("needs manager approval", "not authorised to approve refund", "above my limit"),
    "knowledge": (
        "did not know the process, asked colleague",
        "unsure how to handle",
        "not trained on this",
    ),
    "tool": ("crm would not load", "system would not let me change it", "tool crashed"),
    "policy": (
        "policy does not allow",
        "against terms and conditions",
        "no exception possible under policy",
    ),
    "negative": ("customer upset", "customer angry", "very unhappy"),
    "neutral": ("", "ok", "informed customer"),
    "positive": ("customer pleased", "happy, thanked us", "very friendly call"),
}
