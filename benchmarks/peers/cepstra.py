"""Cepstra and pitch of voiced speech: how voices were told apart before there was an encoder.

Statistics of the voiced frames of the telephone band, for `benchmarks/bench_voices.py`.
"""

from __future__ import annotations

import numpy as np

RATE_HZ = 8000
_FRAME = 200  # samples: 25 ms
_STEP = 80  # samples: 10 ms
_PITCH_FRAME = 320  # samples: 40 ms hold two periods of 50 Hz
_LAGS = (20, 130)  # 400 Hz down to 62 Hz
_CEPSTRA = 19


def statistics(samples: np.ndarray, rate_hz: int, max_frames: int = 4000) -> np.ndarray | None:
    """Returns the statistics of a call, float64 [40]; None where there is too little speech."""
    pieces = _pieces(samples, rate_hz, max_frames)
    return None if pieces is None else np.asarray(pieces.mean(0))


def _pieces(samples: np.ndarray, rate_hz: int, max_frames: int) -> np.ndarray | None:
    """Statistics of two to six consecutive stretches of voiced speech [pieces, statistics].

    None where there is too little speech.
    """
    cepstra, pitch = _voiced(np.asarray(samples, dtype=np.float64), rate_hz, max_frames)
    if len(pitch) < 50:
        return None
    count = int(np.clip(len(pitch) // 150, 2, 6))
    return np.array(
        [
            np.concatenate(
                [c.mean(0), c.std(0), [np.median(p), np.subtract(*np.percentile(p, [75, 25]))]]
            )
            for c, p in zip(
                np.array_split(cepstra, count), np.array_split(pitch, count), strict=True
            )
        ]
    )


def _voiced(samples: np.ndarray, rate_hz: int, max_frames: int) -> tuple[np.ndarray, np.ndarray]:
    """Cepstra [frames, 19] and log2 pitch [frames] of the frames that are loud and periodic."""
    from scipy.fft import dct

    if rate_hz != RATE_HZ:
        import soxr

        samples = soxr.resample(samples, rate_hz, RATE_HZ)
    if len(samples) < _PITCH_FRAME:
        return np.zeros((0, _CEPSTRA)), np.zeros(0)
    starts = np.arange(0, len(samples) - _PITCH_FRAME + 1, _STEP)
    windows = np.lib.stride_tricks.sliding_window_view(samples, _PITCH_FRAME)
    energy = np.concatenate([[0.0], np.cumsum(samples**2)])
    level_db = 10 * np.log10(energy[starts + _FRAME] - energy[starts] + 1e-10)
    loud = np.flatnonzero(
        level_db > max(np.percentile(level_db, 10) + 6, np.percentile(level_db, 97) - 25)
    )
    if len(loud) > max_frames:
        loud = np.sort(loud[np.argsort(level_db[loud])[-max_frames:]])
    frames = windows[starts[loud]]
    centred = frames - frames.mean(1, keepdims=True)
    correlation = np.fft.irfft(np.abs(np.fft.rfft(centred, 1024)) ** 2)[:, : _LAGS[1]]
    correlation /= (correlation[:, :1] + 1e-9) * (1 - np.arange(_LAGS[1]) / _PITCH_FRAME)
    lag = correlation[:, _LAGS[0] :].argmax(1) + _LAGS[0]
    voiced = correlation[np.arange(len(lag)), lag] > 0.6
    short = frames[voiced][:, :_FRAME]
    emphasised = np.concatenate([short[:, :1], short[:, 1:] - 0.97 * short[:, :-1]], axis=1)
    power = np.abs(np.fft.rfft(emphasised * np.hamming(_FRAME), 256)) ** 2
    cepstra = dct(np.log(power @ _mel_filters().T + 1e-8), norm="ortho", axis=1)[
        :, 1 : _CEPSTRA + 1
    ]
    return cepstra, np.log2(RATE_HZ / lag[voiced])


def _mel_filters(count: int = 30, low_hz: float = 100, high_hz: float = 3800) -> np.ndarray:
    """Triangles evenly spaced in mel over the telephone band, shape [count, 129]."""
    low, high = (2595 * np.log10(1 + hz / 700) for hz in (low_hz, high_hz))
    edges = 700 * (10 ** (np.linspace(low, high, count + 2) / 2595) - 1)
    bins = np.fft.rfftfreq(256, 1 / RATE_HZ)
    rise = (bins - edges[:-2, None]) / np.diff(edges)[:-1, None]
    fall = (edges[2:, None] - bins) / np.diff(edges)[1:, None]
    return np.maximum(0, np.minimum(rise, fall))
