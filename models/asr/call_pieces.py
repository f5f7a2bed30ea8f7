"""Cuts a call of any length, block by block, into the pieces of speech to recognise."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator

import numpy as np

from data.audio import SAMPLE_RATE_HZ, Resampler
from models.asr.segments import Segment, Segmentation, VoiceActivityDetector, segments_of


def find_speech(
    blocks: Iterable[np.ndarray],
    sample_rate_hz: int,
    *,
    channels: list[int],
    segmentation: Segmentation,
) -> list[tuple[Segment, int]]:
    """Returns the speech segments of all channels with their channel, in the order they end.

    `blocks` are float32 [frames, channels of the call]. A single channel of at most
    `segmentation.whole_s` with any speech in it is one segment, the quiet around it included: a
    recogniser normalises levels over the whole of its input, so one trained on whole files works
    best on them.
    """
    detectors = {channel: VoiceActivityDetector() for channel in channels}
    resampler, frames = Resampler(sample_rate_hz, SAMPLE_RATE_HZ, len(channels)), 0
    for block in blocks:
        frames += len(block)
        _feed(detectors, resampler.feed(block[:, channels]))
    _feed(detectors, resampler.end())
    duration_s = frames / sample_rate_hz
    segments = [
        (segment, channel)
        for channel, detector in detectors.items()
        for segment in segments_of(detector.probabilities(), duration_s, segmentation)
    ]
    if len(channels) == 1 and segments and duration_s <= segmentation.whole_s:
        (first, channel), (last, _) = segments[0], segments[-1]
        return [(Segment(first.start_s, last.end_s, 0.0, duration_s), channel)]
    return sorted(segments, key=lambda item: item[0].to_s)


def _feed(detectors: dict[int, VoiceActivityDetector], samples: np.ndarray) -> None:
    for column, detector in enumerate(detectors.values()):
        detector.feed(samples[:, column])


def cut_pieces(
    blocks: Iterable[np.ndarray], sample_rate_hz: int, segments: list[tuple[Segment, int]]
) -> Iterator[tuple[Segment, int, np.ndarray]]:
    """Yields each segment with its channel and its samples, float32 [frames].

    `blocks` are float32 [frames, channels]; `segments` come in the order they end. No more of the
    call is kept in memory than later segments need.
    """
    needed_from = [int(segment.from_s * sample_rate_hz) for segment, _ in segments]
    for number in range(len(segments) - 2, -1, -1):
        needed_from[number] = min(needed_from[number], needed_from[number + 1])
    end_of_call = np.zeros((0, 0), np.float32)
    kept, start, number = end_of_call, 0, 0
    # Times are rounded, so the last segment may reach a sample beyond the call and ends with it.
    for block in itertools.chain(blocks, [end_of_call]):
        if len(block):
            kept = np.concatenate([kept, block]) if len(kept) else block
        end = start + len(kept)
        while number < len(segments) and (
            segments[number][0].to_s * sample_rate_hz <= end or not len(block)
        ):
            segment, channel = segments[number]
            begin, finish = (
                int(segment.from_s * sample_rate_hz) - start,
                int(segment.to_s * sample_rate_hz) - start,
            )
            yield segment, channel, kept[begin:finish, channel].copy()
            number += 1
        if number == len(segments):
            return
        drop = max(0, min(needed_from[number], end) - start)
        kept, start = kept[drop:], start + drop


def group_pieces(
    pieces: Iterable[tuple[Segment, int, np.ndarray]], seconds: float
) -> Iterator[list[tuple[Segment, int, np.ndarray]]]:
    """Yields the pieces in lists of about `seconds` of speech."""
    group: list[tuple[Segment, int, np.ndarray]] = []
    for piece in pieces:
        group.append(piece)
        if sum(segment.to_s - segment.from_s for segment, _, _ in group) >= seconds:
            yield group
            group = []
    if group:
        yield group
