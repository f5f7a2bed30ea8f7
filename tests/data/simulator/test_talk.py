"""What is said carries what happened: in many words, mostly, not always."""

import random
import re
from dataclasses import replace

import pytest

from data.simulator import phrases, talk
from data.simulator.entities import Touch
from data.simulator.params import BARRIERS, FRICTIONS, REASONS, SENTIMENTS, SimulatorParams
from data.simulator.talk import Line
from data.simulator.world import build


@pytest.fixture(scope="module")
def touches() -> list[Touch]:
    world = build(SimulatorParams(customers=500))
    return [touch for path in world.touches for touch in path]


def words_of(touch: Touch, seed: int = 0, written: bool | None = None) -> list[Line]:
    written = touch.channel not in ("phone", "ivr") if written is None else written
    speech = talk.Speech(
        random.Random(seed),
        talk.Caller("maria carter", "471033", "plus"),
        agents=("james", "priya"),
        written=written,
    )
    writers = {"ivr": talk.menu_log, "chat": talk.chat, "email": talk.email, "social": talk.social}
    if touch.channel == "phone":
        return talk.phone_call(speech, touch, False)
    return writers[touch.channel](speech, touch)


def test_transcripts_are_lower_case_letters_and_apostrophes(touches: list[Touch]) -> None:
    for seed, touch in enumerate(t for t in touches if t.channel == "phone"):
        for line in words_of(touch, seed):
            assert line.role in ("customer", "agent")
            assert line.text == line.text.lower()
            assert re.fullmatch(r"[a-z'][a-z' ]*", talk.transcript(line.text)), line.text
            assert "{" not in line.text
            assert not re.search(r"[()|<>0-9]", line.text)


def test_every_template_can_be_said() -> None:
    speech = talk.Speech(
        random.Random(0),
        talk.Caller("maria carter", "471033", "plus"),
        agents=("james", "priya"),
        written=False,
    )
    groups = [value for name, value in vars(phrases).items() if name.isupper() and name != "RULES"]
    templates = [
        t
        for group in groups
        for t in ([x for v in group.values() for x in v] if isinstance(group, dict) else group)
    ]
    for template in [*templates, *(t for rule in phrases.RULES.values() for t in rule)]:
        for _ in range(5):
            text = speech.say(template.replace("{topic}", "bills"))
            assert not re.search(r"[(){}|<>]", text), template


def test_there_is_wording_for_every_label() -> None:
    for table in (phrases.OPENING, phrases.DETAIL, phrases.SOLVED):
        assert set(table) == set(REASONS)
    assert set(phrases.BARRIER) == set(BARRIERS) - {"none"}
    assert set(phrases.MOOD) == set(SENTIMENTS)


def test_dialogues_rarely_repeat(touches: list[Touch]) -> None:
    spoken = [
        " / ".join(line.text for line in words_of(t, seed))
        for seed, t in enumerate(touches)
        if t.channel == "phone"
    ]
    assert len(set(spoken)) > 0.99 * len(spoken)
    openings = [words_of(t, seed)[1].text for seed, t in enumerate(touches) if t.channel == "phone"]
    assert len(set(openings)) > 0.8 * len(openings)


@pytest.mark.parametrize(
    ("flag", "channels", "pattern"),
    [
        ("please_call", ("chat", "email", "social"), r"call|phone|ring"),
        ("pressed_zero", ("ivr",), r"zero"),
        ("ivr_dead_end", ("ivr",), r"dead end|no further|without an option|exhausted"),
        ("system_hangup", ("ivr",), r"by system|system disconnected"),
        (
            "transfer",
            ("phone",),
            r"put you through|transfer|pass you over|connect you|hand \w* ?you",
        ),
        (
            "repeated_contact",
            ("phone", "chat"),
            r"again|before|back|already|still|third|second|fourth|how many times",
        ),
        ("long_wait", ("phone",), r"wait|hold|queue|forever|through"),
    ],
)
def test_frictions_are_usually_but_not_always_in_the_words(
    touches: list[Touch], flag: str, channels: tuple[str, ...], pattern: str
) -> None:
    matches: dict[bool, list[bool]] = {True: [], False: []}
    for seed, touch in enumerate(touches):
        if touch.channel in channels:
            text = " ".join(line.text.lower() for line in words_of(touch, seed))
            matches[flag in touch.flags].append(bool(re.search(pattern, text)))
    assert sum(matches[True]) / len(matches[True]) > 0.8
    assert sum(matches[True]) / len(matches[True]) > 1.5 * sum(matches[False]) / len(matches[False])
    assert flag in FRICTIONS


def test_a_cut_line_ends_in_the_middle(touches: list[Touch]) -> None:
    touch = next(
        t for t in touches if t.channel == "phone" and "system_hangup" not in t.flags and t.resolved
    )
    cut = replace(touch, flags=touch.flags | {"system_hangup"}, resolved=False)
    closings = re.compile(r"goodbye|bye|have a nice day")
    assert closings.search(words_of(touch)[-1].text)
    assert not any(closings.search(words_of(cut, seed)[-1].text) for seed in range(20))


def test_written_contacts_use_figures_and_notes_name_the_barrier(touches: list[Touch]) -> None:
    chats = [
        " ".join(line.text for line in words_of(t, n))
        for n, t in enumerate(touches)
        if t.channel == "chat"
    ]
    assert sum("£" in text for text in chats) > 0.1 * len(chats)
    for barrier in set(BARRIERS) - {"none"}:
        touch = replace(touches[0], channel="phone", barrier=barrier, resolved=False)
        speech = talk.Speech(
            random.Random(3), talk.Caller("a b", "1", "plus"), agents=("c", "d"), written=True
        )
        notes = " ".join(talk.note(speech, touch)[0].text for _ in range(8))
        assert any(text in notes for text in phrases.NOTE[barrier])


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (0, "zero"),
        (13, "thirteen"),
        (40, "forty"),
        (42, "forty two"),
        (100, "one hundred"),
        (142, "one hundred and forty two"),
        (1200, "one thousand two hundred"),
        (2005, "two thousand and five"),
    ],
)
def test_numbers_are_spoken_in_words(number: int, words: str) -> None:
    assert talk.number_words(number) == words
