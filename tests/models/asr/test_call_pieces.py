"""Cutting a call: every piece is exactly its samples, whatever the blocks, and little is kept."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from data.simulator.voice import Synthesizer, voices
from models.asr.call_pieces import cut_pieces, find_speech, group_pieces
from models.asr.segments import Segment, Segmentation

RATE = 100
CALL = np.stack([np.arange(2000), -np.arange(2000)], axis=1).astype(np.float32)


def segment(from_s: float, to_s: float) -> Segment:
    return Segment(from_s, to_s, from_s, to_s)


SEGMENTS = [
    (segment(3.0, 4.0), 0),
    (segment(1.0, 5.5), 1),
    (segment(5.5, 5.6), 0),
    (segment(19.0, 20.004), 1),
]


def in_blocks(size: int) -> Iterator[np.ndarray]:
    return (CALL[begin : begin + size] for begin in range(0, len(CALL), size))


@pytest.mark.parametrize("size", [1, 7, 100, 333, 2000, 5000])
def test_each_piece_is_its_samples_to_the_last_one_of_the_call(size: int) -> None:
    pieces = list(cut_pieces(in_blocks(size), RATE, SEGMENTS))
    assert [(piece, channel) for piece, channel, _ in pieces] == SEGMENTS
    for piece, channel, samples in pieces:
        np.testing.assert_array_equal(
            samples, CALL[int(piece.from_s * RATE) : int(piece.to_s * RATE), channel]
        )


def test_no_more_of_the_call_is_read_than_needed() -> None:
    read = []

    def blocks() -> Iterator[np.ndarray]:
        for number, block in enumerate(in_blocks(100)):
            read.append(number)
            yield block

    list(cut_pieces(blocks(), RATE, SEGMENTS[:3]))
    assert read == [0, 1, 2, 3, 4, 5]
    assert list(cut_pieces(iter(()), RATE, [])) == []


def test_groups_hold_about_as_much_speech_as_asked_for() -> None:
    groups = list(group_pieces(iter([(segment(0, 4), 0, CALL)] * 7), 10.0))
    assert [len(group) for group in groups] == [3, 3, 1]


def test_one_short_channel_is_one_segment_and_a_call_is_cut_where_speech_is() -> None:
    speech = Synthesizer().speak("i would like to change my plan", voices(1, 0)[0], 16000)
    quiet = np.zeros(16000, np.float32)
    call = np.concatenate([quiet, quiet, speech, quiet])[:, None]
    duration_s = len(call) / 16000

    def segments(wave: np.ndarray, **settings: float) -> list[tuple[Segment, int]]:
        return find_speech(
            [wave],
            16000,
            channels=list(range(wave.shape[1])),
            segmentation=Segmentation(**settings),
        )

    ((whole, _),) = segments(call)
    assert (whole.from_s, whole.to_s) == (0.0, duration_s)
    assert 1.5 < whole.start_s < whole.end_s < duration_s - 0.5
    assert all(segment.from_s > 1.5 for segment, _ in segments(call, whole_s=duration_s - 0.01))
    assert all(
        segment.from_s > 1.5 for segment, _ in segments(np.concatenate([call, call], axis=1))
    )
    assert segments(np.zeros((16000, 1), np.float32)) == []
