"""Short pieces of calls as data: URIs (Ogg Opus), so that a page plays them without other files."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import soundfile

from data.audio import resample

RATES_HZ = (8000, 16000)  # what Opus takes and speech needs
COMPRESSION = 0.96  # about 16 kbit/s, where speech in Opus is clear
FADE_S = 0.02


@dataclass(frozen=True)
class Clip:
    """A piece of a recording from `start_s` to `end_s`; `uri` is what an audio element plays."""

    start_s: float
    end_s: float
    uri: str


def clip_start_s(turns: Sequence[Mapping[str, Any]], duration_s: float, longest_s: float) -> float:
    """Returns where a clip of `longest_s` starts, in seconds.

    At the start of the turn from which on the customer says most within the clip. `turns` have
    role, text, start_s and end_s (seconds, None where unknown). A clip never runs over the end.
    """
    last = max(0.0, duration_s - longest_s)
    timed = [turn for turn in turns if turn["start_s"] is not None]
    best, most = 0.0, -1
    for start in sorted(turn["start_s"] for turn in timed):
        words = sum(
            len(turn["text"].split())
            for turn in timed
            if turn["role"] == "customer"
            and start <= turn["start_s"]
            and (turn["end_s"] or turn["start_s"]) <= start + longest_s
        )
        if words > most:
            best, most = start, words
    return float(min(best, last))


def cut_clip(audio: np.ndarray, sample_rate_hz: int, *, start_s: float, longest_s: float) -> Clip:
    """Returns a clip of at most `longest_s` from `start_s`, with all channels mixed to one.

    `audio` is [frames, channels] or [frames]. Raises ValueError for a start behind the end.
    """
    first = int(start_s * sample_rate_hz)
    cut = np.asarray(audio[first : first + int(longest_s * sample_rate_hz)], dtype=np.float32)
    if not len(cut):
        raise ValueError(f"clip: {start_s:.1f} s lies behind the end of the recording.")
    mono = cut if cut.ndim == 1 else cut.mean(axis=1)
    peak = float(np.abs(mono).max())
    if peak > 0:  # two sides mixed to one are half as loud; bring them back without clipping
        mono = mono * min(0.9 / peak, 2.0)
    fade = min(int(FADE_S * sample_rate_hz), len(mono) // 2)
    if fade:
        ramp = np.linspace(0, 1, fade, dtype=np.float32)
        mono = mono.copy()
        mono[:fade] *= ramp
        mono[-fade:] *= ramp[::-1]
    rate_hz = next((rate for rate in RATES_HZ if rate >= sample_rate_hz), RATES_HZ[-1])
    sound = resample(mono, sample_rate_hz, rate_hz)
    buffer = io.BytesIO()
    soundfile.write(
        buffer, sound, rate_hz, format="OGG", subtype="OPUS", compression_level=COMPRESSION
    )
    encoded = base64.b64encode(buffer.getvalue()).decode("ascii")
    return Clip(
        first / sample_rate_hz,
        (first + len(cut)) / sample_rate_hz,
        f"data:audio/ogg;base64,{encoded}",
    )
