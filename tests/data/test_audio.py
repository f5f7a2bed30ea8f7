"""Audio files are decoded whole or refused by name; telephone effects do what they say."""

import io
from pathlib import Path

import numpy as np
import pytest
import soundfile

from data import audio

RATE = 8000


def a_tone(
    hz: float = 440.0, seconds: float = 1.0, level: float = 0.3, rate: int = RATE
) -> np.ndarray:
    return (level * np.sin(2 * np.pi * hz * np.arange(int(seconds * rate)) / rate)).astype(
        np.float32
    )


def a_call(seconds: float = 1.0, codec: str = "ULAW") -> bytes:
    return audio.to_wav_bytes(
        np.stack([a_tone(440, seconds), a_tone(600, seconds)], axis=1), RATE, codec
    )


@pytest.mark.parametrize("codec", audio.WAV_CODECS)
def test_what_is_written_is_read_back(codec: str) -> None:
    samples, rate = audio.read(a_call(codec=codec))
    assert (rate, samples.shape) == (RATE, (RATE, 2))
    assert samples.dtype == np.float32
    assert np.max(np.abs(samples[:, 0] - a_tone())) < 0.02
    info = audio.probe(a_call(codec=codec))
    assert (info.codec, info.sample_rate_hz, info.channels, info.duration_s) == (
        codec,
        RATE,
        2,
        1.0,
    )


def test_the_same_samples_give_the_same_bytes() -> None:
    assert a_call() == a_call()


def test_flac_and_ogg_are_read_too() -> None:
    for container, subtype, codec in (("FLAC", "PCM_16", "FLAC"), ("OGG", "VORBIS", "VORBIS")):
        buffer = io.BytesIO()
        soundfile.write(buffer, a_tone(), RATE, format=container, subtype=subtype)
        assert audio.probe(buffer.getvalue()).codec == codec
        assert len(audio.read(buffer.getvalue())[0]) == RATE


@pytest.mark.parametrize("codec", audio.WAV_CODECS)
@pytest.mark.parametrize("share", [0.2, 0.5, 0.99])
def test_a_truncated_wav_is_refused_by_name(tmp_path: Path, codec: str, share: float) -> None:
    whole = a_call(codec=codec)
    path = tmp_path / "call-81f2.wav"
    path.write_bytes(whole[: int(len(whole) * share)])
    for reader in (audio.probe, audio.read):
        with pytest.raises(audio.AudioError, match=r"call-81f2\.wav: truncated"):
            reader(path)


def test_a_wav_cut_inside_its_header_is_refused() -> None:
    with pytest.raises(audio.AudioError, match=r"x\.wav: truncated"):
        audio.probe(a_call()[:20], name="x.wav")


def test_a_streamed_wav_without_a_length_is_not_called_truncated() -> None:
    whole = bytearray(a_call(codec="PCM_16"))
    at = whole.index(b"data") + 4
    whole[at : at + 4] = b"\xff\xff\xff\xff"
    assert len(audio.read(bytes(whole))[0]) == RATE


def test_what_is_not_audio_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "notes.wav"
    path.write_bytes(b"these are the minutes of the meeting" * 10)
    with pytest.raises(audio.AudioError, match=r"notes\.wav: not audio"):
        audio.read(path)
    path.write_bytes(b"")
    with pytest.raises(audio.AudioError, match=r"notes\.wav: the file is empty"):
        audio.read(path)


@pytest.mark.parametrize("container", ["FLAC", "MP3"])
def test_a_truncated_compressed_file_is_refused(container: str) -> None:
    buffer = io.BytesIO()
    soundfile.write(
        buffer, np.random.default_rng(0).normal(0, 0.1, RATE * 20), RATE, format=container
    )
    with pytest.raises(audio.AudioError, match=r"call-7\."):
        audio.read(
            buffer.getvalue()[: len(buffer.getvalue()) // 2], name=f"call-7.{container.lower()}"
        )


def test_resampling_keeps_the_tone_and_the_length() -> None:
    up = audio.resample(a_tone(440), RATE, 16000)
    assert len(up) == 16000
    assert np.argmax(np.abs(np.fft.rfft(up))) == 440


def test_the_telephone_band_keeps_voice_and_drops_rumble() -> None:
    middle = slice(RATE // 4, -RATE // 4)
    for hz, least, most in ((1000, -1, 1), (100, -200, -15)):
        change = audio.level_dbfs(
            audio.telephone_band(a_tone(hz), RATE)[middle]
        ) - audio.level_dbfs(a_tone(hz)[middle])
        assert least < change < most


@pytest.mark.parametrize(("codec", "worst"), [("ULAW", 0.02), ("ALAW", 0.02), ("GSM610", 0.03)])
def test_codecs_change_the_sound_a_little_and_keep_its_shape(codec: str, worst: float) -> None:
    stereo = np.stack([a_tone(440), a_tone(700)], axis=1)
    received = audio.codec_roundtrip(stereo, RATE, codec)
    assert received.shape == stereo.shape
    assert 0 < np.sqrt(np.mean((received - stereo) ** 2)) < worst
    assert np.argmax(np.abs(np.fft.rfft(received[:, 1]))) == 700


@pytest.mark.parametrize("snr_db", [0, 10, 30])
def test_noise_comes_at_the_ratio_asked_for(snr_db: float) -> None:
    clean = a_tone(seconds=4)
    noise = audio.add_noise(clean, snr_db, np.random.default_rng(1)) - clean
    assert audio.level_dbfs(clean) - audio.level_dbfs(noise) == pytest.approx(snr_db, abs=0.6)


def test_lost_packets_are_about_as_many_as_asked_for() -> None:
    clean = a_tone(seconds=20)
    received = audio.packet_loss(clean, RATE, share=0.1, rng=np.random.default_rng(1))
    changed = np.any((received != clean).reshape(-1, 160), axis=1).mean()
    assert changed == pytest.approx(0.1, abs=0.02)


def test_clipping_silence_and_level_are_measured() -> None:
    loud = np.clip(a_tone(level=3.0), -1, 1)
    for codec in audio.WAV_CODECS:
        decoded = audio.read(audio.to_wav_bytes(loud, RATE, codec))[0]
        assert audio.clipped_share(decoded) > 0.5
    assert audio.clipped_share(a_tone(level=0.9)) == 0.0
    half = np.concatenate([a_tone(), np.zeros(RATE, np.float32)])
    assert audio.silent_share(half, RATE) == pytest.approx(0.5)
    assert audio.level_dbfs(a_tone(level=1.0)) == pytest.approx(-3.01, abs=0.01)
    assert audio.level_dbfs(np.zeros(10)) == float("-inf")
