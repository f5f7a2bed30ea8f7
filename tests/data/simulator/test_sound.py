"""Tests that a recording holds the lines of its call, in time and on the right channel."""

from __future__ import annotations

import numpy as np
import pytest

from data import audio
from data.simulator.sound import AGENT, CUSTOMER, SAMPLE_RATE_HZ, Call, record
from data.simulator.talk import Line
from data.simulator.voice import Synthesizer, voices

LINES = [
    Line("agent", "thank you for calling, how can i help", hold_s=2.0),
    Line("customer", "hello, my bill is wrong"),
    Line("agent", "you are speaking with a colleague now", speaker=1),
]


def a_call(seed: int = 1) -> Call:
    first, second, customer = voices(3, 4)
    return record(
        LINES,
        customer=customer,
        agents=(first, second),
        synthesizer=Synthesizer(),
        rng=np.random.default_rng(seed),
    )


def test_turns_are_the_lines_in_order_without_commas() -> None:
    call = a_call()
    assert [turn.role for turn in call.turns] == [line.role for line in LINES]
    assert call.turns[1].text == "hello my bill is wrong"
    assert all(turn.start_s < turn.end_s <= call.duration_s for turn in call.turns)
    assert call.turns[1].start_s > call.turns[0].end_s + 2.0  # the hold music lies between


def test_each_role_is_louder_on_its_own_channel() -> None:
    call = a_call()
    samples, rate = audio.read(call.wav)
    assert (rate, samples.shape[1]) == (SAMPLE_RATE_HZ, 2)
    assert len(samples) / rate == pytest.approx(call.duration_s)
    for turn in call.turns:
        span = samples[int(turn.start_s * rate) : int(turn.end_s * rate)]
        own, other = (CUSTOMER, AGENT) if turn.role == "customer" else (AGENT, CUSTOMER)
        assert audio.level_dbfs(span[:, own]) > audio.level_dbfs(span[:, other])


def test_the_same_random_state_gives_the_same_bytes() -> None:
    assert a_call().wav == a_call().wav
    assert a_call().wav != a_call(seed=2).wav
