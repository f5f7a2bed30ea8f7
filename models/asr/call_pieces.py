"""Takes a call of any length block by block: where speech is on each channel, then the pieces to hear, in turn."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator

import numpy as np

from data.audio import Resampler
from models.asr.segments import SAMPLE_RATE_HZ, Segment, Segmentation, SpeechFinder, segments_of


def speech(
    read: Iterable[np.ndarray], sample_rate_hz: int, channels: list[int], segmentation: Segmentation
) -> list[tuple[Segment, int]]:
    """The segments of all channels with their channel, in the order in which they end.

    A single channel of at most `whole_s` in which anybody speaks is one segment with all the quiet around: a recogniser
    takes the level of sounds from the whole of what it is given, so what was trained on whole files is heard in them.
    """
    finders = {channel: SpeechFinder() for channel in channels}
    resampler, frames = Resampler(sample_rate_hz, SAMPLE_RATE_HZ, len(channels)), 0
    for block in read:
        frames += len(block)
        _feed(finders, resampler.feed(block[:, channels]))
    _feed(finders, resampler.end())
    duration_s = frames / sample_rate_hz
    found = [
        (segment, channel)
        for channel, finder in finders.items()
        for segment in segments_of(finder.probabilities(), duration_s, segmentation)
    ]
    if len(channels) == 1 and found and duration_s <= segmentation.whole_s:
        (first, channel), (last, _) = found[0], found[-1]
        return [(Segment(first.start_s, last.end_s, 0.0, duration_s), channel)]
    return sorted(found, key=lambda one: one[0].to_s)


def _feed(finders: dict[int, SpeechFinder], wide: np.ndarray) -> None:
    for column, finder in enumerate(finders.values()):
        finder.feed(wide[:, column])


def pieces(
    read: Iterable[np.ndarray], sample_rate_hz: int, segments: list[tuple[Segment, int]]
) -> Iterator[tuple[Segment, int, np.ndarray]]:
    """Each segment with its channel and its samples, keeping no more of the call than later segments need.

    `segments` are in the order in which they end.
    """
    needed_from = [int(segment.from_s * sample_rate_hz) for segment, _ in segments]
    for number in range(len(segments) - 2, -1, -1):
        needed_from[number] = min(needed_from[number], needed_from[number + 1])
    nothing = np.zeros((0, 0), np.float32)
    kept, start, number = nothing, 0, 0
    # The empty block ends the call: times are rounded, so the last segment may reach a sample beyond it.
    for block in itertools.chain(read, [nothing]):
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


def groups(
    pieces: Iterable[tuple[Segment, int, np.ndarray]], seconds: float
) -> Iterator[list[tuple[Segment, int, np.ndarray]]]:
    """Pieces in lists of about `seconds` of speech."""
    group: list[tuple[Segment, int, np.ndarray]] = []
    for piece in pieces:
        group.append(piece)
        if sum(segment.to_s - segment.from_s for segment, _, _ in group) >= seconds:
            yield group
            group = []
    if group:
        yield group
