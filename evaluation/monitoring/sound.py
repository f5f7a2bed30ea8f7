"""Measures of a recording that tell whether the way it was made has changed."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.signal import welch

from data.audio import silent_share
from evaluation.metrics.snr import estimated_snr_db

_WINDOW_S = 0.02
_POWER_BELOW_EDGE = 0.995
_LONGEST_S = 300.0  # of a channel; longer ones change no measure


def sound_measures(samples: np.ndarray, sample_rate_hz: int) -> dict[str, Any]:
    """Returns level_dbfs, snr_db, band_hz and silence_share of a channel (float32 [frames]).

    The level is that of the loud tenth of 20 ms windows. The band's edge is the frequency below
    which 99.5 % of the power of the louder half lies. None where there is too little to measure.
    """
    samples = samples[: int(_LONGEST_S * sample_rate_hz)]
    size = max(1, int(_WINDOW_S * sample_rate_hz))
    count = len(samples) // size
    measures: dict[str, Any] = {
        "level_dbfs": None,
        "snr_db": estimated_snr_db(samples, sample_rate_hz),
        "band_hz": None,
        "silence_share": silent_share(samples, sample_rate_hz) if len(samples) else None,
    }
    if count < 5:
        return measures
    windows = samples[: count * size].reshape(count, size).astype(np.float64)
    power = np.mean(windows**2, axis=1)
    loud = float(np.percentile(power, 90))
    if not loud > 0:
        return measures
    measures["level_dbfs"] = round(10 * np.log10(loud), 2)
    louder = windows[power >= np.median(power)].ravel()
    frequency, spectrum = welch(louder, sample_rate_hz, nperseg=min(512, len(louder)))
    below = np.cumsum(spectrum) / max(float(spectrum.sum()), 1e-20)
    measures["band_hz"] = float(frequency[int(np.searchsorted(below, _POWER_BELOW_EDGE))])
    return measures
