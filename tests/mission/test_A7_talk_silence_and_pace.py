"""A7: talk share, silence, overlap, interruptions, hold and pace of a call with known timings come
out right.
"""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from data.records import RECORDINGS, TURNS
from data.simulator.voice import Synthesizer, voices
from evaluation.experience.conversation import (
    CONVERSATION,
    ConversationParams,
    Span,
    conversations,
    measure,
)
from models.asr.segments import speech_segments

CALL = [
    Span("agent", 1.0, 4.0, 10),  # a greeting
    Span("customer", 5.5, 15.5, 20),  # answers after 1.5 s
    Span("agent", 10.0, 10.4, 1),  # "mhm": overlaps, does not interrupt
    Span("agent", 14.0, 19.0, 10),  # interrupts 1.5 s before the customer ends
    Span("customer", 19.5, 21.5, 6),  # answers after half a second
    Span("agent", 51.5, 53.5, 4),  # after 30 s on hold, which is no reply
    Span("customer", 54.5, 55.5, 2),  # answers after 1 s
    Span("agent", 57.0, 58.0, 2),  # and the agent after 1.5 s
]


def test_A7_a_call_with_known_timings_comes_out_right() -> None:
    assert measure(CALL, 60.0) == {
        "duration_s": 60.0,
        "customer_talk_s": 13.0,
        "agent_talk_s": 11.4,
        "customer_share": pytest.approx(13 / 24.4, abs=1e-3),
        "agent_share": pytest.approx(11.4 / 24.4, abs=1e-3),
        "silence_s": pytest.approx(60 - 24.4 + 1.9),
        "overlap_s": pytest.approx(1.9),
        "longest_silence_s": 30.0,
        "hold_s": 30.0,
        "holds": 1,
        "customer_interruptions": 0,
        "agent_interruptions": 1,
        "customer_words_per_minute": pytest.approx(60 * 28 / 13, abs=1e-3),
        "agent_words_per_minute": pytest.approx(60 * 27 / 11.4, abs=1e-3),
        "customer_latency_s": 1.0,
        "agent_latency_s": 1.5,
    }


def test_A7_talk_and_the_rest_add_up_to_the_call() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        starts = rng.uniform(0, 100, (20, 2))
        spans = [
            Span("agent" if side else "customer", a, a + b / 20, 3)
            for side in (0, 1)
            for a, b in starts[side::2]
        ]
        measures = measure(spans, 100.0)
        spoken = measures["customer_talk_s"] + measures["agent_talk_s"] - measures["overlap_s"]
        assert spoken + measures["silence_s"] == pytest.approx(100.0, abs=0.01)
        assert (
            0
            <= measures["overlap_s"]
            <= min(measures["customer_talk_s"], measures["agent_talk_s"]) + 0.001
        )


def test_A7_a_silent_call_has_no_shares_and_no_pace() -> None:
    measures = measure([], 30.0)
    assert (
        measures["silence_s"],
        measures["hold_s"],
        measures["customer_share"],
        measures["agent_latency_s"],
    ) == (
        30,
        0,
        None,
        None,
    )


def test_A7_a_stricter_hold_is_one_setting() -> None:
    assert measure(CALL, 60.0, ConversationParams(hold_s=31.0))["holds"] == 0


def test_A7_the_person_s_times_go_before_the_machine_s_and_untimed_turns_are_left_out() -> None:
    rows = [
        ("a", 0, "customer", "hello there", 1.0, 2.0, "asr"),
        ("a", 0, "customer", "hello", 1.0, 4.0, "person"),
        ("b", 0, "agent", "good day", 0.0, 2.0, "asr"),
        ("c", 0, "agent", "no times", None, None, "person"),
        ("chat", 0, "agent", "written", 1.0, 2.0, "person"),
    ]
    turns = pl.DataFrame(rows, schema=TURNS, orient="row")
    calls = pl.DataFrame({"contact_id": ["a", "b", "c"], "duration_s": [10.0, 5.0, 5.0]}).cast(
        {name: RECORDINGS[name] for name in ("contact_id", "duration_s")}
    )
    table = conversations(turns, calls)
    assert table.schema == CONVERSATION
    assert table.select("contact_id", "origin", "customer_talk_s").rows() == [
        ("a", "person", 3.0),
        ("b", "asr", 0.0),
    ]


def test_A7_times_found_in_audio_are_the_times_that_were_spoken() -> None:
    speech = Synthesizer().speak(
        "i would like to know why my bill is so high this month", voices(4, 3)[1], 8000
    )
    call = np.random.default_rng(0).normal(0, 0.001, (8000 * 60, 2)).astype(np.float32)
    length_s = len(np.trim_zeros(np.where(np.abs(speech) > 0.01, speech, 0))) / 8000
    for begin_s, channel in ((2, 1), (10, 0), (40, 1)):
        call[begin_s * 8000 :][: len(speech), channel] += 0.5 * speech
    spans = [
        Span(role, segment.start_s, segment.end_s, 6)
        for channel, role in ((0, "customer"), (1, "agent"))
        for segment in speech_segments(call[:, channel], 8000)
    ]
    measures = measure(spans, 60.0)
    assert measures["agent_talk_s"] == pytest.approx(2 * length_s, rel=0.15)
    assert measures["agent_share"] == pytest.approx(2 / 3, abs=0.02)
    assert measures["hold_s"] == pytest.approx(30 - length_s, abs=0.5)
    assert measures["customer_latency_s"] == pytest.approx(8 - length_s, abs=0.4)
