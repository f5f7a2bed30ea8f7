"""Groups calls by the customer's voice, so that an unnamed voice is on one side of a split.

No pretrained speaker model: cepstra and pitch of the voiced frames, weighed by how little they vary
within one call and how much between calls (within-class covariance normalisation, Hatch et al.
2006; a call is its own class, so no label is needed), then average linkage. The groups are coarse
on purpose: two voices in one group cost little, one voice in two groups leaks. Grouping makes a
leak rarer, not impossible; what the source knows (`recordings.voice`) comes first.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import polars as pl

from data.progress import Progress

RATE_HZ = 8000
_FRAME = 200  # samples: 25 ms
_STEP = 80  # samples: 10 ms
_PITCH_FRAME = 320  # samples: 40 ms hold two periods of 50 Hz
_LAGS = (20, 130)  # 400 Hz down to 62 Hz
_CEPSTRA = 19

ReadCustomer = Callable[[str], tuple[np.ndarray, int]]


@dataclass(frozen=True)
class VoiceParams:
    """How finely voices are divided; section `voices` of params.yaml."""

    groups: int = 12  # at most so many groups; fewer are safer against leaks and coarser to divide
    calls_a_group: int = 4  # with few calls: as many groups as leave this many calls to each
    max_frames: int = 4000  # loudest frames looked at in a call (10 ms each)
    shrink: float = 0.1  # pull of the within-call covariance towards a sphere, 0 none to 1 all


def voice_groups(
    read_customer: ReadCustomer,
    recordings: pl.DataFrame,
    params: VoiceParams | None = None,
    *,
    progress: Progress = lambda done, total: None,
) -> pl.DataFrame:
    """Groups the calls of `recordings` by the customer's voice.

    `read_customer` takes a contact_id and returns the customer's channel, float samples of
    shape [frames] within [-1, 1], and its rate in Hz. Returns (contact_id, voice_group), one
    row a call with speech, sorted by contact_id; a call without half a second of voiced speech
    is left out. The same calls give the same groups, in any order.
    """
    params = params or VoiceParams()
    names = sorted(recordings["contact_id"].to_list())
    voiced = []
    for done, name in enumerate(names, start=1):
        pieces = _pieces(*read_customer(name), params.max_frames)
        if pieces is not None:
            voiced.append((name, pieces))
        progress(done, len(names))
    group_count = max(1, min(params.groups, len(voiced) // params.calls_a_group))
    labels = _cluster([pieces for _, pieces in voiced], group_count, params.shrink)
    return pl.DataFrame(
        [(name, f"heard-{label:04d}") for (name, _), label in zip(voiced, labels, strict=True)],
        schema={"contact_id": pl.String, "voice_group": pl.String},
        orient="row",
    )


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


def _cluster(calls: list[np.ndarray], groups: int, shrink: float) -> np.ndarray:
    """Labels 1…groups for calls given as [pieces, statistics]; numbered by first appearance."""
    if len(calls) < 2 or groups < 2:
        return np.ones(len(calls), dtype=int)
    from scipy.cluster.hierarchy import fcluster, linkage
    from scipy.linalg import eigh
    from scipy.spatial.distance import pdist

    means = np.array([pieces.mean(0) for pieces in calls])
    scale = means.std(0) + 1e-9
    centred = (means - means.mean(0)) / scale
    spread = [(pieces - pieces.mean(0)) / scale for pieces in calls]
    within = sum(s.T @ s for s in spread) / sum(len(s) - 1 for s in spread)
    sphere = np.eye(len(within)) * np.trace(within) / len(within)
    within = (1 - shrink) * within + shrink * sphere + 1e-9 * np.eye(len(within))
    values, vectors = eigh(within)
    whitened = centred @ vectors / np.sqrt(values)
    labels = fcluster(linkage(pdist(whitened, "cosine"), "average"), groups, "maxclust")
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[inverse] + 1
