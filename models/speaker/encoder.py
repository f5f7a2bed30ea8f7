"""The speaker encoder: a recording of one voice becomes a vector that tells voices apart.

The network is the GE2E encoder (Wan et al. 2018) with the weights of Resemblyzer 0.1.4 (Apache-2.0,
trained on VoxCeleb 1 and 2 and LibriSpeech other). That package no longer imports with a present
scipy, so the few lines that run it are here, and its weights are stored without a pickle. After it
come a centre and a matrix that weigh down what changes between calls of one voice, such as codec
and noise (within-class covariance normalisation, Hatch et al. 2006; see card.md).
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from data.audio import resample

if TYPE_CHECKING:
    import torch

WEIGHTS = Path(__file__).with_name("ge2e.safetensors")
RATE_HZ = 16_000
LINE_RATE_HZ = 8_000  # of a telephone line: every voice is heard through its band
SIZE = 256  # of an embedding
_WINDOW, _STEP, _BANDS = 400, 160, 40  # samples of a frame, between frames; mel bands
_PIECE = 160  # frames that the network takes at once: 1.6 s
_HOP = 77  # frames between two pieces
_LEVEL_DB = -30.0  # quieter speech is raised to this
_SILENCE_DB = -60.0  # a channel that is nowhere louder holds no speech
_RANGE_DB = 8.0  # nor does one that is always about as loud, such as noise or a tone


def embed(samples: np.ndarray, rate_hz: int, *, longest_s: float = 30.0) -> np.ndarray | None:
    """Returns the voice of `samples` (mono, float [frames]) as a unit vector, float32 [256].

    Of long speech the loudest `longest_s` seconds are used. None where less than one piece of
    1.6 s is speech. The cosine of two vectors tells whether they are of one voice.
    """
    raw = unweighed(samples, rate_hz, longest_s=longest_s)
    if raw is None:
        return None
    centre, matrix = _backend()
    weighed = (raw - centre) @ matrix
    unit: np.ndarray = (weighed / np.linalg.norm(weighed)).astype(np.float32)
    return unit


def unweighed(samples: np.ndarray, rate_hz: int, *, longest_s: float = 30.0) -> np.ndarray | None:
    """Returns the network's own vector, before centre and matrix; arguments as in `embed`."""
    import torch

    narrow = resample(np.asarray(samples, np.float32), rate_hz, LINE_RATE_HZ)
    speech = _loud(resample(narrow, LINE_RATE_HZ, RATE_HZ), longest_s)
    if len(speech) < _PIECE * _STEP:
        return None
    level_db = 10 * np.log10(float(np.mean(speech**2)) + 1e-12)
    if level_db < _LEVEL_DB:
        speech = speech * 10 ** ((_LEVEL_DB - level_db) / 20)
    mels = _mel_power(speech)
    starts = range(0, len(mels) - _PIECE + 1, _HOP)
    pieces = torch.from_numpy(np.stack([mels[begin : begin + _PIECE] for begin in starts]))
    with torch.inference_mode():
        vectors = _network()(pieces).numpy()
    mean = vectors.mean(0)
    unit: np.ndarray = (mean / np.linalg.norm(mean)).astype(np.float32)
    return unit


def _loud(samples: np.ndarray, longest_s: float) -> np.ndarray:
    """Returns the stretches of 30 ms that are clearly above the background, joined in order."""
    size = 480
    count = len(samples) // size
    if not count:
        return samples[:0]
    frames = samples[: count * size].reshape(count, size)
    level_db = 10 * np.log10(np.mean(frames.astype(np.float64) ** 2, axis=1) + 1e-10)
    quiet, top = np.percentile(level_db, [10, 95])
    if top < _SILENCE_DB or top - quiet < _RANGE_DB:
        return samples[:0]
    loud = level_db > max(top - 30, min(quiet + 6, top - 10))
    # Short gaps inside speech stay, as the network heard them in training.
    loud = np.convolve(loud, np.ones(7), "same") >= 1
    kept = np.flatnonzero(loud)
    longest = int(longest_s * RATE_HZ / size)
    if len(kept) > longest:
        # A stretch in one piece: the one with most energy.
        sums = np.convolve(level_db[kept], np.ones(longest), "valid")
        begin = int(sums.argmax())
        kept = kept[begin : begin + longest]
    return frames[kept].reshape(-1)


def _mel_power(samples: np.ndarray) -> np.ndarray:
    """Mel power spectrum, float32 [frames, 40], as librosa.feature.melspectrogram computes it."""
    padded = np.pad(samples, _WINDOW // 2)
    frames = np.lib.stride_tricks.sliding_window_view(padded, _WINDOW)[::_STEP]
    window = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(_WINDOW) / _WINDOW)).astype(np.float32)
    power = np.abs(np.fft.rfft(frames * window, axis=1)) ** 2
    mels: np.ndarray = (power @ _mel_filters().T).astype(np.float32)
    return mels


@lru_cache(maxsize=1)
def _mel_filters() -> np.ndarray:
    """Triangles evenly spaced on Slaney's mel scale, each of area 1, float64 [40, 201]."""

    def hz(mel: np.ndarray) -> np.ndarray:  # linear to 1 kHz, then logarithmic
        return np.where(mel < 15, mel * 200 / 3, 1000 * np.exp((mel - 15) * np.log(6.4) / 27))

    highest = 15 + np.log(RATE_HZ / 2 / 1000) / (np.log(6.4) / 27)
    edges = hz(np.linspace(0, highest, _BANDS + 2))
    bins = np.fft.rfftfreq(_WINDOW, 1 / RATE_HZ)
    rise = (bins - edges[:-2, None]) / np.diff(edges)[:-1, None]
    fall = (edges[2:, None] - bins) / np.diff(edges)[1:, None]
    area = 2 / (edges[2:] - edges[:-2])
    filters: np.ndarray = np.maximum(0, np.minimum(rise, fall)) * area[:, None]
    return filters


@lru_cache(maxsize=1)
def _backend() -> tuple[np.ndarray, np.ndarray]:
    """The centre of embeddings [256] and the matrix [256, 256] that weighs them."""
    from safetensors.numpy import load_file

    parts = load_file(WEIGHTS)
    return parts["backend.centre"].astype(np.float32), parts["backend.matrix"].astype(np.float32)


@lru_cache(maxsize=1)
def _network() -> torch.nn.Module:
    """The network, from mel pieces [pieces, 160, 40] to unit vectors [pieces, 256]."""
    import torch
    from safetensors.torch import load_file

    class Encoder(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm = torch.nn.LSTM(_BANDS, SIZE, num_layers=3, batch_first=True)
            self.linear = torch.nn.Linear(SIZE, SIZE)

        def forward(self, mels: torch.Tensor) -> torch.Tensor:
            _, (hidden, _) = self.lstm(mels)
            raw = torch.relu(self.linear(hidden[-1]))
            unit: torch.Tensor = raw / raw.norm(dim=1, keepdim=True)
            return unit

    network, parts = Encoder(), load_file(WEIGHTS)
    network.load_state_dict(
        {name: part.float() for name, part in parts.items() if not name.startswith("backend.")}
    )
    return network.eval()
