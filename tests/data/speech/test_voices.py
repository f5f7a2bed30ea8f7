"""Tests that voice groups keep the calls of one voice together without labels."""

from __future__ import annotations

import numpy as np
import polars as pl
from scipy.signal import lfilter

from data.speech.voices import VoiceParams, voice_groups

THROATS = [
    (95, (500, 1400, 2400)),
    (140, (620, 1750, 2700)),
    (215, (720, 2050, 3100)),
    (250, (430, 1250, 2900)),
]


def speak(throat: int, seed: int, rate_hz: int = 8000, seconds: float = 6.0) -> np.ndarray:
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
    return audio * rng.uniform(0.3, 1.0) + rng.normal(0, 3e-4, len(audio))


CALLS = {f"k{throat}{n}": (throat, 10 * throat + n) for throat in range(4) for n in range(5)}
HEARD = {name: speak(*call) for name, call in CALLS.items()}


def grouped(names: list[str], groups: int = 4) -> dict[str, str]:
    recordings = pl.DataFrame({"contact_id": names})
    table = voice_groups(lambda name: (HEARD[name], 8000), recordings, VoiceParams(groups=groups))
    return dict(table.iter_rows())


def test_calls_of_one_voice_fall_into_one_group() -> None:
    table = grouped(list(HEARD))
    voices_of = {
        group: {CALLS[name][0] for name in table if table[name] == group}
        for group in table.values()
    }
    assert len(voices_of) == 4
    assert all(len(voices) == 1 for voices in voices_of.values())


def test_the_order_of_calls_changes_nothing() -> None:
    assert grouped(list(HEARD)) == grouped(list(reversed(HEARD)))


def test_another_rate_is_heard_as_the_same_voice() -> None:
    HEARD["wide"] = np.repeat(HEARD["k00"], 2)
    try:
        table = voice_groups(
            lambda name: (HEARD[name], 16000 if name == "wide" else 8000),
            pl.DataFrame({"contact_id": list(HEARD)}),
            VoiceParams(groups=4),
        )
        of = dict(table.iter_rows())
        assert of["wide"] == of["k01"]
    finally:
        del HEARD["wide"]


def test_a_call_without_speech_is_left_out() -> None:
    recordings = pl.DataFrame({"contact_id": ["k00", "silent", "short"]})
    sounds = {"k00": HEARD["k00"], "silent": np.zeros(40000), "short": np.zeros(10)}
    table = voice_groups(lambda name: (sounds[name], 8000), recordings)
    assert table["contact_id"].to_list() == ["k00"]


def test_no_calls_give_no_groups() -> None:
    assert voice_groups(
        lambda name: (HEARD[name], 8000), pl.DataFrame(schema={"contact_id": pl.String})
    ).is_empty()
