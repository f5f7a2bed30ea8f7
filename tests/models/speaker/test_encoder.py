"""The speaker encoder: one voice is one direction, however loud and at whatever rate it comes."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import lfilter

from models.speaker import encoder

THROATS = [(95, (500, 1400, 2400)), (250, (430, 1250, 2900))]


def speak(throat: int, seed: int, rate_hz: int = 8000, seconds: float = 4.0) -> np.ndarray:
    """Vowels of a speaker: glottal pulses through resonances around the speaker's own."""
    rng = np.random.default_rng(seed)
    pitch_hz, formants = THROATS[throat]
    out = []
    for _ in range(int(seconds / 0.3)):
        period = int(rate_hz / (pitch_hz * rng.uniform(0.93, 1.07)))
        sound = np.zeros(int(0.25 * rate_hz))
        sound[::period] = 1.0
        for formant in formants:
            angle = 2 * np.pi * formant * rng.uniform(0.9, 1.1) / rate_hz
            sound = lfilter([1], [1, -2 * 0.96 * np.cos(angle), 0.96**2], sound)
        out += [0.1 * sound / np.abs(sound).max(), np.zeros(int(0.05 * rate_hz))]
    audio = np.concatenate(out)
    return (audio + rng.normal(0, 3e-4, len(audio))).astype(np.float32)


def cosine(first: np.ndarray | None, second: np.ndarray | None) -> float:
    assert first is not None
    assert second is not None
    return float(first @ second)


def test_V3_two_calls_of_a_voice_are_closer_than_calls_of_two() -> None:
    low, again, high = (
        encoder.embed(speak(throat, seed), 8000) for throat, seed in ((0, 1), (0, 2), (1, 3))
    )
    assert cosine(low, low) == pytest.approx(1.0, abs=1e-5)
    assert cosine(low, again) > cosine(low, high) + 0.2


def test_V3_level_and_rate_change_little() -> None:
    voice = speak(0, 1)
    heard = encoder.embed(voice, 8000)
    assert cosine(heard, encoder.embed(0.2 * voice, 8000)) > 0.97
    assert cosine(heard, encoder.embed(np.repeat(voice, 2), 16000)) > 0.9


def test_V3_too_little_speech_is_no_voice() -> None:
    noise = np.random.default_rng(0).normal(0, 0.01, 80000).astype(np.float32)
    assert encoder.embed(noise, 8000) is None
    assert encoder.embed(np.zeros(80000, np.float32), 8000) is None
    assert encoder.embed(speak(0, 1, seconds=1.2), 8000) is None
    assert encoder.embed(np.zeros(0, np.float32), 8000) is None


def test_V3_the_mel_power_is_what_the_network_was_trained_on() -> None:
    # librosa 0.11: melspectrogram(y=tone, sr=16000, n_fft=400, hop_length=160, n_mels=40)
    tone = np.sin(2 * np.pi * 1000 * np.arange(1600) / 16000).astype(np.float32)
    mels = encoder._mel_power(tone)
    assert mels.shape == (11, 40)
    assert mels[5].argmax() == 13
    np.testing.assert_allclose(mels[5, [12, 13, 14]], [88.4206, 104.52, 3.12854], rtol=1e-3)
