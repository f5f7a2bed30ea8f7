"""Plants the faults of real exports in a simulated one, so that validation can be tested."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from data import audio

# What is done to a recording that was fine. `duplicate_content` (another call's bytes) and
# `missing_recording` (no file) are handled where the file is written.
SPOILERS: dict[str, Callable[[bytes], bytes]] = {
    "truncated_wav": lambda wav: wav[: len(wav) * 3 // 5],
    "mono_wav": lambda wav: _rewrite(wav, lambda samples: samples[:, :1]),
    "silent_wav": lambda wav: _rewrite(wav, np.zeros_like),
    "clipped_wav": lambda wav: _rewrite(wav, lambda samples: np.clip(samples * 60, -1, 1)),
    "not_audio": lambda wav: b"<html><body>503 recording service unavailable</body></html>\n",
}
RECORDING_FAULTS = (*SPOILERS, "duplicate_content", "missing_recording")
ROW_FAULTS = ("unknown_customer", "future_contact")
FAULTS = RECORDING_FAULTS + ROW_FAULTS


def spoil(fault: str, wav: bytes, other: bytes) -> bytes | None:
    """Returns the bytes to write instead of `wav`; None where there is to be no file.

    `other` is another call's recording.
    """
    if fault == "duplicate_content":
        return other
    if fault == "missing_recording":
        return None
    return SPOILERS[fault](wav)


def _rewrite(wav: bytes, change: Callable[[np.ndarray], np.ndarray]) -> bytes:
    samples, rate = audio.read(wav)
    return audio.to_wav_bytes(change(samples), rate, audio.probe(wav).codec)
