"""Segments hold all speech, in order and bounded, the ends of turns included."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from data.audio import codec_roundtrip, resample
from data.simulator.voice import Synthesizer, voices
from models.asr.segments import (
    FRAME_S,
    Segment,
    Segmentation,
    VoiceActivityDetector,
    segments_of,
    speech_segments,
)


def frames(*spans: tuple[float, float], duration_s: float, level: float = 0.9) -> np.ndarray:
    """Probabilities of speech: `level` within each span of seconds, else 0.01."""
    at = np.arange(int(duration_s / FRAME_S)) * FRAME_S
    segments = np.full(len(at), 0.01, np.float32)
    for begin, end in spans:
        segments[(at >= begin - 1e-6) & (at < end - 1e-6)] = level
    return segments


def edges(segments: list[Segment]) -> np.ndarray:
    return np.array([(segment.start_s, segment.end_s) for segment in segments])


def spoken(
    text: str, voice: int, before_s: float = 1.0, after_s: float = 1.0
) -> tuple[np.ndarray, float, float]:
    """A telephone channel (8 kHz) with a sentence in it, and when it begins and ends."""
    speech = Synthesizer().speak(text, voices(8, 5)[voice], 8000)
    loud = np.flatnonzero(np.abs(speech) > 0.02 * np.abs(speech).max())
    channel = np.concatenate(
        [np.zeros(int(8000 * before_s)), 0.4 * speech, np.zeros(int(8000 * after_s))]
    )
    channel += np.random.default_rng(voice).normal(0, 0.002, len(channel))
    return (
        codec_roundtrip(channel, 8000, "ULAW"),
        before_s + loud[0] / 8000,
        before_s + loud[-1] / 8000,
    )


@pytest.mark.parametrize("voice", range(8))
@pytest.mark.parametrize(
    "text", ["what can i do for you today", "yes please", "that is half of the price at best"]
)
def test_the_ends_of_a_turn_are_in_a_segment(text: str, voice: int) -> None:
    samples, begin_s, end_s = spoken(text, voice)
    segments = speech_segments(samples, 8000)
    assert segments[0].from_s <= begin_s + 0.02
    assert segments[-1].to_s >= end_s - 0.02
    assert sum(segment.to_s - segment.from_s for segment in segments) < end_s - begin_s + 0.8


def test_short_pauses_join_and_longer_ones_part() -> None:
    assert len(segments_of(frames((1, 2), (2.3, 3), duration_s=8), 8)) == 1
    assert len(segments_of(frames((1, 2), (2.8, 3.5), duration_s=8), 8)) == 2


def test_a_click_and_a_doubtful_murmur_are_left_out() -> None:
    assert segments_of(frames((1, 1.03), duration_s=4), 4) == []
    assert segments_of(frames((1, 2), duration_s=4, level=0.3), 4) == []


def test_padding_stays_within_the_recording_and_out_of_the_neighbour() -> None:
    first, second = segments_of(
        frames((0, 1.024), (1.6, 3.008), duration_s=3), 3.0, Segmentation(pad_s=0.4)
    )
    assert (first.from_s, second.to_s) == (0.0, 3.0)
    assert first.to_s == pytest.approx(second.from_s, abs=0.002)


def test_no_segment_is_longer_than_allowed_and_nothing_between_is_lost() -> None:
    sentences = [(second, second + 0.8) for second in range(1, 59)]  # pauses of 0.2 s
    segments = segments_of(frames(*sentences, duration_s=60), 60.0, Segmentation(longest_s=15))
    assert max(segment.end_s - segment.start_s for segment in segments) <= 15
    assert edges(segments)[[0, -1], [0, 1]] == pytest.approx([1.0, 58.8], abs=0.04)
    assert all(
        first.end_s == second.start_s == first.to_s
        for first, second in itertools.pairwise(segments)
    )
    for segment in segments[:-1]:
        assert segment.end_s % 1 > 0.78 or segment.end_s % 1 < 0.02, "split within a sentence"


def test_segments_may_be_as_short_as_a_recogniser_takes_and_no_shorter() -> None:
    segments = segments_of(frames((0, 5), duration_s=6), 6.0, Segmentation(longest_s=0.1))
    assert max(segment.end_s - segment.start_s for segment in segments) <= 0.1
    assert edges(segments)[[0, -1], [0, 1]] == pytest.approx([0.0, 5.0], abs=0.04)
    for wrong in (0.05, 0.09, 0.0, float("nan")):
        with pytest.raises(
            ValueError, match=r"segmentation: longest_s is .*; it must be 0\.1 or more"
        ):
            Segmentation(longest_s=wrong)
    with pytest.raises(ValueError, match=r"segmentation: pad_s is -1; it must be 0 or more"):
        Segmentation(pad_s=-1)


@pytest.mark.parametrize("seconds", [0, 0.01, 0.1, 10])
def test_silence_and_hiss_hold_no_speech(seconds: float) -> None:
    count = int(16000 * seconds)
    hiss = np.random.default_rng(0).normal(0, 0.01, count).astype(np.float32)
    assert speech_segments(np.zeros(count, np.float32), 16000) == []
    assert speech_segments(hiss, 16000) == []


def test_blocks_of_any_size_give_the_same_probabilities() -> None:
    samples = resample(spoken("i would like to change my plan", 1)[0], 8000, 16000)
    whole, parts = VoiceActivityDetector(), VoiceActivityDetector()
    whole.feed(samples)
    for begin in range(0, len(samples), 777):
        parts.feed(samples[begin : begin + 777])
    np.testing.assert_allclose(whole.probabilities(), parts.probabilities(), atol=1e-5)
    assert len(whole.probabilities()) == -(-len(samples) // 512)
