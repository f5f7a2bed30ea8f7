"""Estimates the signal-to-noise ratio of an utterance from the utterance alone."""

from __future__ import annotations

import numpy as np

MOST_DB = 60.0
_WINDOW_S = 0.02


def estimated_snr_db(samples: np.ndarray, sample_rate_hz: int) -> float | None:
    """Returns the level of loud windows over that of quiet ones, in dB from 0 to 60.

    None under a tenth of a second. Loud is the 90th percentile of the power of 20 ms windows, quiet
    the 10th, so it needs pauses of a tenth of the time (after the noise estimates by minimum
    statistics, Martin 2001). It is meant for sorting recordings, not for quoting.
    """
    size = max(1, int(_WINDOW_S * sample_rate_hz))
    count = len(samples) // size
    if count < 5:
        return None
    power = np.mean(
        np.square(samples[: count * size], dtype=np.float64).reshape(count, size), axis=1
    )
    quiet, loud = np.percentile(power, [10, 90])
    if loud <= 0:
        return 0.0
    return round(
        float(np.clip(10 * np.log10((loud - quiet) / max(quiet, 1e-12) + 1e-6), 0.0, MOST_DB)), 1
    )
