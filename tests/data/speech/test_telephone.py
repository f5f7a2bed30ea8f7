"""Tests that each telephone effect does what its name says, the same for the same seed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from data.speech.telephone import (
    CLEAN,
    EFFECTS,
    BackgroundSounds,
    PacketLoss,
    Telephony,
    apply_random_effects,
    effect,
    load_background_sounds,
)

RATE = 16000
KEEP_LENGTH = [name for name in EFFECTS if name != "speed"]


def a_voice(seconds: float = 2.0) -> np.ndarray:
    """A buzz with overtones up to 7 kHz that comes and goes, as loud as speech."""
    at = np.arange(int(seconds * RATE)) / RATE
    buzz = sum(np.sin(2 * np.pi * hz * at) for hz in (150, 450, 1500, 3000, 5000, 7000))
    return np.asarray(0.05 * buzz * (np.sin(2 * np.pi * 1.5 * at) > -0.3), np.float32)


def sent(
    name: str, seed: int = 0, sounds: BackgroundSounds = BackgroundSounds(), seconds: float = 2.0
) -> np.ndarray:
    return effect(name, sounds)(a_voice(seconds), RATE, np.random.default_rng(seed))


def power(samples: np.ndarray, low_hz: float, high_hz: float) -> float:
    spectrum, hz = np.abs(np.fft.rfft(samples)) ** 2, np.fft.rfftfreq(len(samples), 1 / RATE)
    return float(spectrum[(hz >= low_hz) & (hz < high_hz)].sum())


def off_db(received: np.ndarray) -> float:
    """How far below the voice lies what is not the voice."""
    voice = a_voice(len(received) / RATE)
    return float(10 * np.log10(np.sum(voice**2) / np.sum((received - voice) ** 2)))


@pytest.mark.parametrize("name", [*EFFECTS, "room+noise_20db+gsm+packet_loss"])
def test_the_same_seed_gives_the_same_bytes_and_leaves_its_input_alone(name: str) -> None:
    voice = a_voice()
    before = voice.tobytes()
    first, again = (effect(name)(voice, RATE, np.random.default_rng(5)) for _ in range(2))
    assert first.tobytes() == again.tobytes()
    assert voice.tobytes() == before
    assert first.tobytes() != before
    assert first.dtype == np.float32
    assert np.isfinite(first).all()


@pytest.mark.parametrize("name", ["room", "noise", "music", "crosstalk", "packet_loss"])
def test_another_seed_is_another_call(name: str) -> None:
    assert sent(name, 1).tobytes() != sent(name, 2).tobytes()


@pytest.mark.parametrize("name", [CLEAN, *KEEP_LENGTH])
@pytest.mark.parametrize("frames", [0, 7, 161, 16001])
def test_every_length_comes_back(name: str, frames: int) -> None:
    voice = np.resize(a_voice(), frames)
    assert effect(name)(voice, RATE, np.random.default_rng(0)).shape == (frames,)


@pytest.mark.parametrize(
    ("name", "low_hz", "high_hz"),
    [
        ("mulaw", 250, 3800),
        ("alaw", 250, 3800),
        ("gsm", 250, 4000),
        ("amr_nb", 100, 3700),
        ("amr_wb", 20, 7500),
    ],
)
def test_a_line_carries_its_band_only(name: str, low_hz: float, high_hz: float) -> None:
    received = sent(name)
    assert power(received, 1000, 3200) > 0.5 * power(a_voice(), 1000, 3200)
    outside = power(received, 0, low_hz / 2) + power(received, high_hz, RATE / 2)
    assert outside < 0.003 * power(received, low_hz, high_hz)


def test_codecs_differ_from_each_other_and_gsm_is_the_coarsest() -> None:
    lines = {name: sent(name) for name in ("mulaw", "alaw", "gsm")}
    band = sent("amr_nb")
    errors = {name: float(np.mean((received - band) ** 2)) for name, received in lines.items()}
    assert len(set(errors.values())) == 3
    assert errors["gsm"] == max(errors.values())


@pytest.mark.parametrize("kind", ["noise", "music", "crosstalk"])
@pytest.mark.parametrize("db", [5, 20])
def test_what_is_heard_beside_the_voice_is_as_faint_as_its_name_says(kind: str, db: int) -> None:
    # The level is taken over the speech without its pauses, so it is a little above that of the
    # whole.
    assert off_db(sent(f"{kind}_{db}db", seconds=6)) == pytest.approx(db - 1.5, abs=2.5)


def test_packets_get_lost_in_bursts_at_the_stated_rate() -> None:
    ones, packet = np.ones(20 * 60 * RATE, np.float32), 320
    for percent, burst in ((5.0, 1.0), (10.0, 4.0)):
        received = PacketLoss(percent, burst)(ones, RATE, np.random.default_rng(1))
        lost = received[::packet] != 1
        runs = np.count_nonzero(np.diff(lost.astype(int), prepend=0) == 1)
        assert lost.mean() == pytest.approx(percent / 100, rel=0.1)
        assert lost.sum() / runs == pytest.approx(burst, rel=0.12)


def test_a_lost_packet_is_filled_with_the_one_before() -> None:
    received = PacketLoss(30.0, 1.0)(a_voice(), RATE, np.random.default_rng(3))
    voice = a_voice()
    gaps = [
        n
        for n in range(2, 99)
        if not np.array_equal(received[n * 320 : n * 320 + 320], voice[n * 320 : n * 320 + 320])
    ]
    assert len(gaps) > 10
    for n in gaps:
        assert np.array_equal(
            received[n * 320 : n * 320 + 320], 0.5 * received[n * 320 - 320 : n * 320]
        )


@pytest.mark.parametrize("burst", [0, 0.5, float("nan")])
def test_a_burst_of_losses_has_a_packet_in_it(burst: float) -> None:
    with pytest.raises(ValueError, match=r"packet_loss: burst is .* packets; it must be 1 or more"):
        PacketLoss(burst=burst)


def test_speed_changes_pace_and_pitch() -> None:
    at = np.arange(RATE) / RATE
    tone = np.sin(2 * np.pi * 400 * at).astype(np.float32)
    fast = effect("speed_125pct")(tone, RATE, np.random.default_rng(0))
    assert len(fast) == pytest.approx(RATE / 1.25, abs=2)
    assert np.abs(np.fft.rfft(fast)).argmax() * RATE / len(fast) == pytest.approx(500, abs=2)


def test_a_room_rings_on_after_the_voice() -> None:
    click = np.zeros(RATE, np.float32)
    click[1000] = 0.5
    small, large = (
        effect(f"room_{ms}ms")(click, RATE, np.random.default_rng(0)) for ms in (100, 600)
    )
    after = slice(1000 + int(0.15 * RATE), None)
    assert np.sum(large[after] ** 2) > 10 * np.sum(small[after] ** 2)
    assert np.abs(large).argmax() == 1000


def test_recordings_of_a_folder_are_what_is_heard(tmp_path: Path) -> None:
    at = np.arange(3 * 8000) / 8000
    (tmp_path / "kitchen").mkdir()
    soundfile.write(tmp_path / "kitchen" / "hum.wav", 0.1 * np.sin(2 * np.pi * 2000 * at), 8000)
    received = sent("noise_0db", sounds=load_background_sounds(str(tmp_path / "kitchen")))
    assert power(received, 1950, 2050) > 0.3 * power(received, 0, RATE / 2)
    assert power(a_voice(), 1950, 2050) < 0.01 * power(received, 1950, 2050)
    (tmp_path / "none").mkdir()
    with pytest.raises(FileNotFoundError, match="no sound file in it"):
        load_background_sounds(str(tmp_path / "none"))


def test_each_effect_falls_to_its_share_of_the_speech() -> None:
    settings = Telephony({"packet_loss_30pct": 0.25, "gsm": 0.0})
    rng = np.random.default_rng(0)
    changed = [
        not np.array_equal(
            apply_random_effects(
                a_voice(), RATE, settings=settings, sounds=BackgroundSounds(), rng=rng
            ),
            a_voice(),
        )
        for _ in range(400)
    ]
    assert np.mean(changed) == pytest.approx(0.25, abs=0.06)


@pytest.mark.parametrize("name", ["gms", "noise_10pct", "gsm_3db", "noise_", "", "mulaw+"])
def test_a_name_that_is_none_is_refused_with_those_there_are(name: str) -> None:
    with pytest.raises(
        ValueError, match=r"is no telephone effect. There are .*packet_loss_<number>pct"
    ):
        effect(name)


@pytest.mark.parametrize(
    ("shares", "says"),
    [
        ({"gms": 0.1}, "no telephone effect"),
        ({"gsm": 1.5}, "between 0 and 1"),
        ({"speed": 0.1}, "speed_spread"),
    ],
)
def test_shares_that_make_no_sense_are_refused(shares: dict[str, float], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Telephony(shares)
