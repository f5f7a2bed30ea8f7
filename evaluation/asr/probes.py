"""Behaviour tests of a recogniser: louder, quieter, and after a short silence."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from data.progress import Progress
from evaluation.behaviour import Probe
from evaluation.metrics.bootstrap import ratio_of_sums
from evaluation.metrics.wer import word_errors

SILENCE_S = 0.5
_FRAME_S = 0.02


def asr_probes(
    transcribe: Callable[[list[np.ndarray]], list[str]],
    waves: Sequence[np.ndarray],
    voices: Sequence[str],
    *,
    sample_rate_hz: int,
    seed: int,
    progress: Progress = lambda done, total: None,
) -> list[Probe]:
    """Returns the share of a recogniser's words that change when the sound is changed.

    `transcribe` turns waveforms (float32 [frames]) into texts; `voices` names the cluster of each.
    """
    changes: dict[str, tuple[str, Callable[[np.ndarray], np.ndarray]]] = {
        "louder": (
            "Twice as loud (6 dB, clipped at full scale) is heard alike.",
            lambda w: np.clip(2 * w, -1, 1),
        ),
        "quieter": ("A quarter as loud (12 dB less) is heard alike.", lambda w: w / 4),
        "silence_before": (
            f"With {SILENCE_S:g} s of the line's own quiet before it speech is heard alike.",
            lambda w: _after_silence(w, sample_rate_hz, seed),
        ),
    }
    progress(0, len(changes) + 1)
    before = transcribe(list(waves))
    progress(1, len(changes) + 1)
    probes = []
    for done, (name, (promise, change)) in enumerate(changes.items(), start=2):
        after = transcribe([np.asarray(change(wave), dtype=np.float32) for wave in waves])
        changed = [
            word_errors(first, second).total for first, second in zip(before, after, strict=True)
        ]
        # An utterance without a recognised word counts as one word, so that insertions count.
        words = [max(1, len(text.split())) for text in before]
        share = ratio_of_sums(changed, words, np.asarray(voices), seed=seed)
        probes.append(
            Probe(name, "invariance", promise, share.value, share.low, share.high, share.clusters)
        )
        progress(done, len(changes) + 1)
    return probes


def _after_silence(wave: np.ndarray, sample_rate_hz: int, seed: int) -> np.ndarray:
    """Returns `wave` after SILENCE_S of noise at the level of its quietest twentieth of frames."""
    size = max(1, int(_FRAME_S * sample_rate_hz))
    frames = wave[: len(wave) // size * size].reshape(-1, size)
    quiet = float(np.quantile(np.sqrt((frames**2).mean(axis=1)), 0.05)) if len(frames) else 0.0
    noise = np.random.default_rng(seed).normal(0, quiet, int(SILENCE_S * sample_rate_hz))
    return np.concatenate([noise.astype(np.float32), wave])
