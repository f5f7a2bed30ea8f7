"""Turns a touch into words: a call, a chat, an e-mail, a post, a menu's log or a note.

Labels are carried by the wording, in many ways and not always: each friction is put into words with
probability `TELLS`. Spoken text is what a transcriber would write (lower case a–z and apostrophe,
numbers as words) plus commas for the voice; `transcript` takes them out.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from data.simulator import phrases as p
from data.simulator.entities import Touch
from data.simulator.world import PLANS
from data.text import ONES, TENS

TELLS = 0.88
_PLACES = (
    "ashford",
    "kingsley",
    "millbrook",
    "harrow hill",
    "westbury",
    "old town",
    "riverside",
    "the new estate",
)
_TITLES = ("lumora", "fibremax", "optihub", "streambox", "roampass", "safeline")
_WRITTEN_TITLES = dict(
    zip(
        _TITLES, ("Lumora", "FibreMax", "OptiHub", "StreamBox", "RoamPass", "SafeLine"), strict=True
    )
)


@dataclass(frozen=True)
class Line:
    """One turn. `speaker` tells the second agent of a transferred call from the first."""

    role: str
    text: str
    speaker: int = 0
    hold_s: float = 0.0  # music after it


def number_words(number: int) -> str:
    """Returns 0 … 9999 in words: 142 is "one hundred and forty two"."""
    if number < 20:
        return ONES[number]
    if number < 100:
        return TENS[number // 10] + (f" {ONES[number % 10]}" if number % 10 else "")
    size, name = (1000, "thousand") if number >= 1000 else (100, "hundred")
    rest = number % size
    joined = f"{number_words(number // size)} {name}"
    return joined + (f"{' and' if rest < 100 else ''} {number_words(rest)}" if rest else "")


def transcript(text: str) -> str:
    """Returns what a transcriber writes: lower case a–z, apostrophe, single blanks."""
    return " ".join(re.sub(r"[^a-z' ]", " ", text.lower()).split())


@dataclass(frozen=True)
class Caller:
    """What a customer says about themselves."""

    name: str
    account: str
    plan: str


class Speech:
    """Writes the words of one contact. The same random state gives the same words."""

    def __init__(
        self, rng: random.Random, about: Caller, *, agents: tuple[str, str], written: bool
    ) -> None:
        self.rng = rng
        self._written = written
        self._plan = about.plan
        self._agents = agents
        self._slots = {
            "name": about.name.title() if written else about.name,
            "account": self._digits(about.account),
            "hotline": "0800 555 0199" if written else "our free number",
        }

    def say(self, *choices: str, speaker: int = 0) -> str:
        """Returns one of the templates, filled in."""
        return " ".join(_render(_parse(self.rng.choice(choices)), self, speaker).split()).replace(
            " ,", ","
        )

    def slot(self, name: str, speaker: int) -> str:
        """Returns a value for `name`; amounts, dates and names stay the same within a contact."""
        if name == "agent":
            return self._agents[speaker]
        if name in ("small", "hour"):
            return self._fresh(name)
        if name not in self._slots:
            self._slots[name] = self._fresh(name)
        return self._slots[name]

    def _digits(self, digits: str) -> str:
        return digits if self._written else " ".join(ONES[int(digit)] for digit in digits)

    def _fresh(self, name: str) -> str:
        rng, written = self.rng, self._written
        if name in ("amount", "amount2"):
            pounds = rng.randint(4, 39) if name == "amount2" else rng.randint(40, 180)
            pence = rng.choice((0, 0, 50, 99, 20, 75))
            if written:
                return f"£{pounds}.{pence:02d}" if pence else f"£{pounds}"
            return f"{number_words(pounds)} pounds" + (f" {number_words(pence)}" if pence else "")
        if name == "date":
            day, month = rng.randint(1, 28), rng.choice(p.MONTHS)
            return f"{day} {month}" if written else f"{_ordinal(day)} of {month}"
        if name == "four":
            return self._digits(f"{rng.randrange(10_000):04d}")
        if name in ("small", "hour"):
            number = rng.randint(2, 20) if name == "small" else rng.randint(1, 12)
            return str(number) if written else number_words(number)
        if name == "plan":
            return rng.choice([self._plan, *PLANS])
        return rng.choice(
            {"product": p.PRODUCTS, "team": p.TEAMS, "weekday": p.WEEKDAYS, "place": _PLACES}[name]
        )

    def tells(self) -> bool:
        """Draws whether the next fact is put into words."""
        return self.rng.random() < TELLS


def phone_call(speech: Speech, touch: Touch, after_menu: bool) -> list[Line]:
    """Returns the lines of a spoken call of about 20–60 seconds."""
    rng, say = speech.rng, speech.say
    lines = [Line("agent", say(*p.GREETING))]
    opening = [say("<hello>"), *_opening(speech, touch, after_menu)]
    lines.append(Line("customer", ", ".join(opening)))
    if rng.random() < 0.55:
        lines.append(Line("agent", say(*p.EMPATHY[touch.sentiment]) + ", " + say(*p.ASK_ACCOUNT)))
        lines.append(Line("customer", say(*p.GIVE_ACCOUNT)))
    else:
        lines.append(Line("agent", say(*p.EMPATHY[touch.sentiment])))
    details = [say(*p.DETAIL[touch.reason])]
    if rng.random() < 0.25:
        details.append(say(*p.SMALL_TALK))
    lines.append(Line("customer", ", ".join(details)))
    speaker = 0
    if "transfer" in touch.flags:
        lines.append(Line("agent", say(*p.TRANSFER), hold_s=rng.uniform(2, 5)))
        speaker = 1
        lines.append(Line("agent", say(*p.GREETING_SECOND, speaker=1), speaker))
        lines.append(Line("customer", say(*p.OPENING[touch.reason])))
    elif rng.random() < 0.12:
        lines.append(Line("agent", say(*p.HOLD), hold_s=rng.uniform(2, 6)))
    lines.append(Line("agent", _answer(speech, touch, speaker), speaker))
    lines.append(Line("customer", _reaction(speech, touch)))
    if "system_hangup" in touch.flags:
        return _hesitate(
            rng,
            [
                *_cut_off(rng, lines),
                *([Line("customer", say(*p.LINE_CUT))] if speech.tells() else []),
            ],
        )
    if rng.random() < 0.7:
        lines.append(Line("agent", say(*p.AGENT_CLOSING[:1]), speaker))
        lines.append(Line("customer", say(*p.CUSTOMER_CLOSING[touch.sentiment])))
    lines.append(Line("agent", say(*p.AGENT_CLOSING[1:]), speaker))
    return _hesitate(rng, lines)


def menu_log(speech: Speech, touch: Touch) -> list[Line]:
    """Returns what a menu writes down: prompts by the system, choices by the customer."""
    end = next(
        (f for f in ("pressed_zero", "ivr_dead_end", "system_hangup") if f in touch.flags), "served"
    )
    topic = p.IVR_TOPIC[touch.reason] if speech.rng.random() < 0.85 else p.IVR_TOPIC["other"]
    lines = [Line("system", speech.say(*p.IVR_MENU)), Line("customer", f"selected {topic}")]
    if speech.rng.random() < 0.4:
        lines.append(Line("customer", speech.say(*p.OPENING[touch.reason])))
    lines.append(
        Line("system", speech.say(*(text.replace("{topic}", topic) for text in p.IVR_END[end])))
    )
    return lines


def chat(speech: Speech, touch: Touch) -> list[Line]:
    """Returns a written conversation; it may end in being told to call."""
    rng, say = speech.rng, speech.say
    lines = [Line("customer", ". ".join([say("<hello>"), *_opening(speech, touch, False)]))]
    lines.append(
        Line(
            "agent",
            say("hi {name}, this is {agent}", "hello, {agent} here")
            + ". "
            + say(*p.EMPATHY[touch.sentiment]),
        )
    )
    if rng.random() < 0.4:
        lines += [
            Line("agent", say(*p.ASK_ACCOUNT)),
            Line("customer", say("{account}", "it's {account}")),
        ]
    lines.append(Line("customer", say(*p.DETAIL[touch.reason])))
    lines.append(Line("agent", _answer(speech, touch, 0)))
    if "system_hangup" in touch.flags:
        lines.append(Line("system", say(*p.CHAT_CUT)))
    else:
        lines.append(Line("customer", _reaction(speech, touch)))
        if rng.random() < 0.4:
            lines.append(
                Line("agent", say("thanks for chatting with us", "have a nice day", "bye for now"))
            )
    return [_as_written(rng, line) for line in lines]


def email(speech: Speech, touch: Touch) -> list[Line]:
    """Returns a letter and its answer."""
    say = speech.say
    body = [*_opening(speech, touch, False), say(*p.DETAIL[touch.reason])]
    if touch.sentiment != "neutral" and speech.tells():
        body.append(say(*p.MOOD[touch.sentiment]))
    question = [say(*p.EMAIL_GREETING), *body, say(*p.EMAIL_CLOSING)]
    answer = [
        say("dear {name}", "hello {name}"),
        say("thank you for your message", "thanks for getting in touch"),
        _answer(speech, touch, 0),
        say(*p.AGENT_EMAIL_CLOSING),
    ]
    lines = [Line("customer", ". ".join(question)), Line("agent", ". ".join(answer))]
    return [_as_written(speech.rng, line) for line in lines]


def social(speech: Speech, touch: Touch) -> list[Line]:
    """Returns a public post and the reply to it."""
    post = [speech.say(*p.SOCIAL_START), *_opening(speech, touch, False)]
    if speech.tells():
        post.append(speech.say(*p.MOOD[touch.sentiment]))
    lines = [Line("customer", ", ".join(post)), Line("agent", "hi, " + _answer(speech, touch, 0))]
    return [_as_written(speech.rng, line) for line in lines]


def note(speech: Speech, touch: Touch) -> list[Line]:
    """Returns what the agent typed after a call whose recording was not kept."""
    say = speech.say
    facts: list[str] = [
        f
        for f in ("repeated_contact", "long_wait", "transfer", "system_hangup")
        if f in touch.flags
    ]
    if touch.barrier != "none":
        facts.append(touch.barrier)
    facts.append("solved" if touch.resolved else "unresolved")
    facts.append(touch.sentiment)
    about = say(*p.NOTE_START) + " " + say(p.IVR_TOPIC[touch.reason], *p.OPENING[touch.reason])
    parts = [about, *(say(*p.NOTE[fact]) for fact in facts if speech.tells())]
    return [Line("agent", ". ".join(part for part in parts if part))]


def _opening(speech: Speech, touch: Touch, after_menu: bool) -> list[str]:
    parts = []
    if after_menu and speech.tells():
        parts.append(speech.say(*p.FOUGHT_MENU))
    if "long_wait" in touch.flags and speech.tells():
        parts.append(speech.say(*p.WAITED))
    parts.append(speech.say(*p.OPENING[touch.reason]))
    if "repeated_contact" in touch.flags and speech.tells():
        parts.append(speech.say(*p.REPEATED))
    return parts


def _answer(speech: Speech, touch: Touch, speaker: int) -> str:
    parts = []
    if touch.barrier != "none" and speech.tells():
        parts.append(speech.say(*p.BARRIER[touch.barrier]))
    if touch.resolved:
        parts.append(speech.say(*p.SOLVED[touch.reason], speaker=speaker))
    elif "please_call" in touch.flags:
        parts.append(speech.say(*p.PLEASE_CALL))
    elif speech.tells() or not parts:
        parts.append(speech.say(*p.UNSOLVED))
    return ", ".join(parts)


def _reaction(speech: Speech, touch: Touch) -> str:
    mood = touch.sentiment if speech.tells() else "neutral"
    return speech.say(*p.MOOD[mood])


def _cut_off(rng: random.Random, lines: list[Line]) -> list[Line]:
    """Ends the call in the middle of the agent's answer."""
    remaining = lines[:-1]
    words = remaining[-1].text.split()
    return [
        *remaining[:-1],
        replace(
            remaining[-1],
            text=" ".join(words[: max(2, int(len(words) * rng.uniform(0.3, 0.7)))]).rstrip(","),
        ),
    ]


def _hesitate(rng: random.Random, lines: list[Line]) -> list[Line]:
    """Adds um, uh and restarts: more in some people than in others."""
    rate = rng.choice((0.0, 0.02, 0.04, 0.08))
    return [
        replace(line, text=_stumble(rng, line.text, rate if line.role == "customer" else 0.01))
        for line in lines
    ]


def _stumble(rng: random.Random, text: str, rate: float) -> str:
    spoken: list[str] = []
    for word in text.split():
        draw = rng.random()
        if draw < rate * 0.55:
            spoken.append(rng.choice(("um", "uh", "er", "you know", "i mean", "well")))
        elif draw < rate and word[0].isalpha():
            spoken.append(word.strip(","))
        spoken.append(word)
    return " ".join(spoken)


def _as_written(rng: random.Random, line: Line) -> Line:
    text = line.text
    if line.role == "customer" and rng.random() < 0.3:
        return replace(line, text=text)  # some people do not bother with capitals
    for plain, title in _WRITTEN_TITLES.items():
        text = text.replace(plain, title)
    text = re.sub(r"\bi\b", "I", text)
    text = re.sub(r"(^|\. )([a-z])", lambda match: match[1] + match[2].upper(), text)
    return replace(line, text=text + "." if text[-1].isalnum() else text)


def _ordinal(day: int) -> str:
    special = {
        1: "first",
        2: "second",
        3: "third",
        5: "fifth",
        8: "eighth",
        9: "ninth",
        12: "twelfth",
        20: "twentieth",
    }
    if day in special:
        return special[day]
    if day > 20:
        return f"twenty {_ordinal(day - 20)}"
    return ONES[day] + "th"


# A template taken apart: plain text, ("slot", name), ("rule", name) or ("choice", templates).
_Part = str | tuple[str, Any]
_Template = tuple[_Part, ...]


@cache
def _parse(template: str) -> _Template:
    """A template as a sequence of str, ("slot", name), ("rule", name) and ("choice", sequences)."""
    parsed, rest = _sequence(template)
    if rest:
        raise ValueError(f"template {template!r}: unbalanced at {rest!r}.")
    return parsed


def _sequence(text: str) -> tuple[_Template, str]:
    parts: list[_Part] = []
    while text and text[0] not in "|)":
        if text[0] == "(":
            arms, text = [], text
            while text[0] in "(|":
                arm, text = _sequence(text[1:])
                arms.append(arm)
                if not text:
                    raise ValueError("a bracket is not closed.")
            parts.append(("choice", tuple(arms)))
            text = text[1:]
        elif text[0] in "{<":
            name, text = text[1:].split("}" if text[0] == "{" else ">", 1)[0], text
            parts.append(("slot" if text[0] == "{" else "rule", name))
            text = text[len(name) + 2 :]
        else:
            plain = re.split(r"[(|){<]", text, maxsplit=1)[0]
            parts.append(plain)
            text = text[len(plain) :]
    return tuple(parts), text


def _render(parsed: _Template, speech: Speech, speaker: int) -> str:
    parts = []
    for part in parsed:
        if isinstance(part, str):
            parts.append(part)
        elif part[0] == "slot":
            parts.append(speech.slot(part[1], speaker))
        elif part[0] == "rule":
            parts.append(_render(_parse(speech.rng.choice(p.RULES[part[1]])), speech, speaker))
        else:
            parts.append(_render(speech.rng.choice(part[1]), speech, speaker))
    return "".join(parts)
