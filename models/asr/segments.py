"""Voice activity detection with silero-vad, and speech segments that a recogniser can take."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from data.audio import SAMPLE_RATE_HZ, resample

FRAME = 512  # samples for which silero-vad gives one probability of speech
FRAME_S = FRAME / SAMPLE_RATE_HZ
LEAST_S = 0.1  # three frames; a split segment has a part on either side of its middle half
_CONTEXT = 64  # samples of the frame before that the network gets too
_BATCH = 1024  # frames in one run of the network
_SMOOTHING = 15  # frames, about half a second


@dataclass(frozen=True)
class Segmentation:
    """Settings of voice activity detection and segmentation."""

    begins_at: float = 0.4  # speech begins where its probability reaches this
    lasts_above: float = 0.25  # and lasts until it falls below this
    pad_s: float = 0.2  # kept around speech, as far as the next segment leaves room
    join_s: float = 0.5  # pauses up to this long stay inside a segment
    shortest_s: float = 0.06  # shorter bursts are clicks
    longest_s: float = 15.0  # longer segments are split in their longest pause
    # A single channel no longer than this is one utterance, as training has them, and is not cut.
    whole_s: float = 15.0

    def __post_init__(self) -> None:
        """Raises ValueError for lengths that are negative or too short."""
        if not self.longest_s >= LEAST_S:
            raise ValueError(
                f"segmentation: longest_s is {self.longest_s}; it must be {LEAST_S} or more."
            )
        for name in ("pad_s", "join_s", "shortest_s", "whole_s"):
            if not getattr(self, name) >= 0:
                raise ValueError(
                    f"segmentation: {name} is {getattr(self, name)}; it must be 0 or more."
                )


@dataclass(frozen=True)
class Segment:
    """Speech from `start_s` to `end_s`, and the padded stretch `from_s` to `to_s` to recognise.

    All in seconds from the start of the channel. Segments of a channel never overlap.
    """

    start_s: float
    end_s: float
    from_s: float
    to_s: float


class VoiceActivityDetector:
    """Probabilities of speech in one channel, block after block; it keeps 31 numbers a second."""

    def __init__(self) -> None:
        self._rest = np.zeros(_CONTEXT, np.float32)
        self._probabilities: list[np.ndarray] = []
        self._state = {name: np.zeros((1, 1, 128), np.float32) for name in ("h", "c")}

    def feed(self, samples: np.ndarray) -> None:
        """Takes the next samples, 16 kHz mono float32 [frames]."""
        waiting = np.concatenate([self._rest, np.asarray(samples, np.float32)])
        count = (len(waiting) - _CONTEXT) // FRAME
        for begin in range(0, count, _BATCH):
            frames = np.lib.stride_tricks.sliding_window_view(waiting, _CONTEXT + FRAME)[::FRAME][
                begin : min(count, begin + _BATCH)
            ]
            speech, self._state["h"], self._state["c"] = _network().run(
                ["speech_probs", "hn", "cn"], {"input": np.ascontiguousarray(frames), **self._state}
            )
            self._probabilities.append(speech.reshape(-1))
        self._rest = waiting[count * FRAME :]

    def probabilities(self) -> np.ndarray:
        """Returns float32 [frames of 32 ms]: how likely each holds speech. Ends the channel.

        A last incomplete frame is filled up with zeros.
        """
        if len(self._rest) > _CONTEXT:
            self.feed(np.zeros(FRAME - (len(self._rest) - _CONTEXT), np.float32))
        parts = self._probabilities
        return np.concatenate(parts) if parts else np.zeros(0, np.float32)


def speech_segments(
    samples: np.ndarray, sample_rate_hz: int, settings: Segmentation = Segmentation()
) -> list[Segment]:
    """Returns the speech in a mono signal (float32 [frames]), in order."""
    detector = VoiceActivityDetector()
    detector.feed(resample(np.asarray(samples, np.float32), sample_rate_hz, SAMPLE_RATE_HZ))
    return segments_of(detector.probabilities(), len(samples) / sample_rate_hz, settings)


def segments_of(
    probabilities: np.ndarray, duration_s: float, settings: Segmentation = Segmentation()
) -> list[Segment]:
    """Returns the segments of a channel from the probability of speech in each frame of 32 ms.

    Every frame at or above `begins_at` lies in a segment, unless its burst is shorter than
    `shortest_s`. No segment is longer than `longest_s`, and the parts of a split one touch.
    """
    shortest, pause = settings.shortest_s / FRAME_S, settings.join_s / FRAME_S
    joined: list[list[int]] = []
    for begin, end in _runs(probabilities >= min(settings.lasts_above, settings.begins_at)):
        if probabilities[begin:end].max() < settings.begins_at or end - begin < shortest:
            continue
        if joined and begin - joined[-1][1] <= pause:
            joined[-1][1] = end
        else:
            joined.append([begin, end])
    longest = int(settings.longest_s / FRAME_S)
    pieces = [
        piece
        for begin, end in joined
        for piece in _split(probabilities, begin, end, longest=longest)
    ]
    spans = [(begin * FRAME_S, min(duration_s, end * FRAME_S)) for begin, end in pieces]
    segments = []
    for number, (start_s, end_s) in enumerate(spans):
        room_before = start_s - spans[number - 1][1] if number else 2 * start_s
        room_after = (
            spans[number + 1][0] - end_s if number + 1 < len(spans) else 2 * (duration_s - end_s)
        )
        segments.append(
            Segment(
                round(start_s, 3),
                round(end_s, 3),
                round(start_s - min(settings.pad_s, room_before / 2), 3),
                round(end_s + min(settings.pad_s, room_after / 2), 3),
            )
        )
    return segments


def _runs(mask: np.ndarray) -> list[tuple[int, int]]:
    """The stretches where `mask` is true, as (begin, end)."""
    edges = np.flatnonzero(np.diff(mask.astype(np.int8), prepend=0, append=0))
    return [(int(begin), int(end)) for begin, end in zip(edges[::2], edges[1::2], strict=True)]


def _split(
    probabilities: np.ndarray, begin: int, end: int, *, longest: int
) -> list[tuple[int, int]]:
    """Splits at the longest, deepest pause of the middle half until every piece fits."""
    if end - begin <= longest:
        return [(begin, end)]
    quarter = (end - begin) // 4
    # Averaged over half a second, the middle of the longest pause is lowest.
    kernel = np.full(_SMOOTHING, 1 / _SMOOTHING)
    smooth = np.convolve(probabilities[begin:end], kernel, mode="same")
    middle = begin + quarter + int(np.argmin(smooth[quarter : end - begin - quarter]))
    return _split(probabilities, begin, middle, longest=longest) + _split(
        probabilities, middle, end, longest=longest
    )


@lru_cache(maxsize=1)
def _network() -> Any:
    """silero-vad's network for whole stretches of 16 kHz audio, loaded without importing torch."""
    import onnxruntime

    spec = find_spec("silero_vad")
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(
            "silero-vad is not installed. Install keepline with the extra train or serve."
        )
    options = onnxruntime.SessionOptions()
    # One thread: calls are spread over processes instead.
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    path = Path(spec.submodule_search_locations[0]) / "data" / "silero_vad_16k_sequence.onnx"
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
