"""Where in a channel somebody speaks: energy above the channel's own floor, cut into pieces of bounded length."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

FRAME_S = 0.02


@dataclass(frozen=True)
class Segmentation:
    """How speech is told from the rest."""

    above_floor_db: float = 9.0  # speech is this much louder than the channel's quiet tenth
    below_peak_db: float = 35.0  # and no more than this below its loudest parts
    least_range_db: float = 6.0  # a channel that varies less holds no speech
    silent_dbfs: float = -60.0  # below this nothing is speech
    pad_s: float = 0.2  # kept around speech
    join_s: float = 0.5  # pauses up to this long stay inside a segment
    shortest_s: float = 0.12  # shorter bursts are clicks
    longest_s: float = 15.0  # longer segments are split where they are quietest


def speech_segments(
    samples: np.ndarray, sample_rate_hz: int, settings: Segmentation = Segmentation()
) -> list[tuple[float, float]]:
    """(start_s, end_s) of each piece of speech in a mono signal, in order, without overlap, each ≤ longest_s."""
    size = int(FRAME_S * sample_rate_hz)
    count = len(samples) // size
    if not count:
        return []
    frames = np.asarray(samples[: count * size], np.float32).reshape(count, size)
    level_db = 10 * np.log10(np.einsum("ij,ij->i", frames, frames) / size + 1e-12)
    floor_db, peak_db = np.percentile(level_db, [10, 98])
    if peak_db - floor_db < settings.least_range_db:
        return []  # a steady hum or hiss: speech comes and goes
    threshold_db = max(min(floor_db + settings.above_floor_db, peak_db - 6), peak_db - settings.below_peak_db)
    loud = level_db > max(threshold_db, settings.silent_dbfs)
    runs = [run for run in _runs(loud) if (run[1] - run[0]) * FRAME_S >= settings.shortest_s]
    joined: list[list[int]] = []
    for begin, end in runs:
        if joined and (begin - joined[-1][1]) * FRAME_S <= settings.join_s:
            joined[-1][1] = end
        else:
            joined.append([begin, end])
    pad, longest = round(settings.pad_s / FRAME_S), int(settings.longest_s / FRAME_S)
    pieces: list[tuple[int, int]] = []
    for begin, end in joined:
        previous = pieces[-1][1] if pieces else 0
        pieces += _split(level_db, max(previous, begin - pad), min(count, end + pad), longest)
    return [(begin * FRAME_S, end * FRAME_S) for begin, end in pieces]


def _runs(mask: np.ndarray) -> list[tuple[int, int]]:
    edges = np.flatnonzero(np.diff(mask.astype(np.int8), prepend=0, append=0))
    return [(int(begin), int(end)) for begin, end in zip(edges[::2], edges[1::2], strict=True)]


def _split(level_db: np.ndarray, begin: int, end: int, longest: int) -> list[tuple[int, int]]:
    """Halves at the quietest frame of the middle third until every piece fits."""
    if end - begin <= longest:
        return [(begin, end)]
    third = (end - begin) // 3
    middle = begin + third + int(np.argmin(level_db[begin + third : end - third]))
    return _split(level_db, begin, middle, longest) + _split(level_db, middle, end, longest)
