"""Tests that the simulator's voices differ clearly and repeat themselves exactly."""

from dataclasses import replace

import numpy as np
import pytest

from data.simulator.voice import FEMALE, MALE, Synthesizer, Voice, voices

WORDS = "my fibremax has not worked since tuesday"


def pitch_hz(samples: np.ndarray, rate: int = 16000) -> float:
    """Median fundamental of the voiced frames, by autocorrelation."""
    pitches = []
    for begin in range(0, len(samples) - 800, 400):
        frame = samples[begin : begin + 800]
        if np.sqrt(np.mean(frame**2)) > 0.05:
            similar = np.correlate(frame, frame, "full")[799:]
            lag = rate // 400 + np.argmax(similar[rate // 400 : rate // 60])
            if similar[lag] > 0.5 * similar[0]:
                pitches.append(rate / lag)
    return float(np.median(pitches))


@pytest.fixture(scope="module")
def synthesizer() -> Synthesizer:
    return Synthesizer()


def test_the_same_words_in_the_same_voice_are_the_same_bytes_whatever_was_said_before(
    synthesizer: Synthesizer,
) -> None:
    for voice in voices(6, 4):
        before = synthesizer.speak(WORDS, voice)
        synthesizer.speak("something else entirely", voices(1, 9)[0])
        assert np.array_equal(before, synthesizer.speak(WORDS, voice))
        assert np.array_equal(before, Synthesizer().speak(WORDS, voice))


def test_every_voice_speaks_at_a_usable_level(synthesizer: Synthesizer) -> None:
    for variant in FEMALE + MALE:
        samples = synthesizer.speak(WORDS, Voice("one", variant=variant), 8000)
        assert samples.dtype == np.float32
        assert 1.5 < len(samples) / 8000 < 5
        assert 0.02 < np.sqrt(np.mean(samples**2)) < 0.2
        assert np.max(np.abs(samples)) <= 0.99


def test_voices_are_clearly_different(synthesizer: Synthesizer) -> None:
    people = voices(24, 1)
    spoken = [synthesizer.speak(WORDS, voice) for voice in people]
    pitches = [pitch_hz(samples) for samples in spoken]
    assert min(pitches) < 110
    assert max(pitches) > 220
    assert np.std(pitches) > 40
    assert np.std([len(samples) for samples in spoken]) > 0.1 * np.mean(
        [len(samples) for samples in spoken]
    )
    assert len({(voice.accent, voice.variant) for voice in people}) == 24
    assert len({voice.accent for voice in people}) >= 5


def test_a_shorter_vocal_tract_sounds_higher_and_lasts_as_long(synthesizer: Synthesizer) -> None:
    low, high = (
        synthesizer.speak(WORDS, Voice("v", variant="m3", warp=warp)) for warp in (0.9, 1.12)
    )
    assert pitch_hz(high) / pitch_hz(low) == pytest.approx(1.12 / 0.9, rel=0.06)
    assert len(high) == pytest.approx(len(low), rel=0.1)


def test_pitch_pace_and_breath_are_heard(synthesizer: Synthesizer) -> None:
    plain = Voice("v", variant="m3")
    usual = synthesizer.speak(WORDS, plain)
    assert pitch_hz(synthesizer.speak(WORDS, replace(plain, pitch=70))) > 1.15 * pitch_hz(usual)
    assert len(synthesizer.speak(WORDS, replace(plain, rate_wpm=210))) < 0.9 * len(usual)
    breathy = synthesizer.speak(WORDS, replace(plain, breath=0.2))
    assert np.mean(np.abs(np.diff(breathy))) > 1.1 * np.mean(np.abs(np.diff(usual)))
    for setting in ("pitch", "pitch_range", "rate_wpm", "warp", "tilt", "breath"):
        assert len({getattr(voice, setting) for voice in voices(30, 1)}) > 8


def test_a_longer_list_of_voices_begins_with_the_shorter() -> None:
    assert voices(40, 2)[:10] == voices(10, 2)
    assert voices(10, 2) != voices(10, 3)


def test_a_voice_that_does_not_exist_is_refused_by_name(synthesizer: Synthesizer) -> None:
    with pytest.raises(ValueError, match=r"voice nobody: espeak-ng has no voices/!v/f99"):
        synthesizer.speak(WORDS, Voice("nobody", variant="f99"))
    with pytest.raises(ValueError, match="voice mute: nothing to say"):
        synthesizer.speak("", Voice("mute"))
