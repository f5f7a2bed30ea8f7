"""Promises of the estimated SNR: louder noise, lower figure, and roughly the right one."""

from __future__ import annotations

import numpy as np
import pytest

from evaluation.metrics.snr import estimated_snr_db


def speech(noise_db: float, seconds: float = 4.0) -> np.ndarray:
    """Noise bursts as long as syllables with pauses, and a floor `noise_db` below them."""
    rng = np.random.default_rng(0)
    at = np.arange(int(seconds * 16000)) / 16000
    wave = 0.1 * rng.standard_normal(len(at)) * ((at % 0.5) < 0.35)
    return (wave + 0.1 * 10 ** (-noise_db / 20) * rng.standard_normal(len(at))).astype(np.float32)


@pytest.mark.parametrize("db", [5, 15, 25, 40])
def test_the_estimate_is_near_the_truth(db: int) -> None:
    assert estimated_snr_db(speech(db), 16000) == pytest.approx(db, abs=1.5)


def test_silence_has_no_speech_in_it_and_too_little_sound_no_figure() -> None:
    assert estimated_snr_db(np.zeros(16000, np.float32), 16000) == 0
    assert estimated_snr_db(speech(20, 0.09), 16000) is None
    assert estimated_snr_db(speech(300), 16000) == 60
