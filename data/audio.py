"""Decodes, encodes, resamples and measures audio files, and applies telephone effects.

No other module reads or writes audio formats. Audio in memory is float32 within [-1, 1], shape
[frames] for one channel or [frames, channels] for several.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr

SAMPLE_RATE_HZ = 16000  # input rate of recognisers and speech detection
WAV_CODECS = ("PCM_16", "ULAW", "ALAW")
# of recordings
SUFFIXES = (
    ".wav",
    ".flac",
    ".ogg",
    ".opus",
    ".mp3",
    ".gsm",
    ".au",
    ".aiff",
    ".aif",
    ".caf",
    ".w64",
)
CLIPPED_FROM = 0.98  # the loudest step of µ-law decodes to 0.9804, of A-law to 0.984, of PCM to 1
SILENCE_DBFS = -60.0
# what streaming recorders leave in the header when they never learn the length
_UNKNOWN_SIZES = (
    0,
    0xFFFFFFFF,
)


class AudioError(ValueError):
    """A file is not audio, is truncated or cannot be decoded.

    The message names the file and what to do.
    """


@dataclass(frozen=True)
class AudioInfo:
    """The format of a file according to its header.

    `codec` is soundfile's name: PCM_16, ULAW, ALAW, GSM610, FLAC, OPUS, …
    """

    codec: str
    sample_rate_hz: int
    channels: int
    frames: int

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return self.frames / self.sample_rate_hz


def probe(source: Path | bytes, name: str | None = None) -> AudioInfo:
    """Reads the header of a file and returns its format.

    `name` stands for the file in errors when `source` is bytes. Raises AudioError when it is
    not audio, empty, or a WAV shorter than its header says; OSError when there is no file.
    """
    label = _label(source, name)
    _refuse_truncated_wav(source, label)
    try:
        info = soundfile.info(_handle(source))
    except soundfile.LibsndfileError as error:
        raise AudioError(
            f"{label}: not audio ({_reason(error)}). Export it again as WAV."
        ) from error
    if info.frames <= 0:
        raise AudioError(f"{label}: no audio in it (0 frames). Export it again.")
    return AudioInfo(_codec(info.format, info.subtype), info.samplerate, info.channels, info.frames)


def read(source: Path | bytes, name: str | None = None) -> tuple[np.ndarray, int]:
    """Decodes a whole file into float32 [frames, channels] and its rate in Hz.

    Raises AudioError as `probe` does, and when fewer frames can be decoded than the header
    says.
    """
    header = probe(source, name)
    label = _label(source, name)
    try:
        audio, rate = soundfile.read(_handle(source), dtype="float32", always_2d=True)
    except soundfile.LibsndfileError as error:
        raise AudioError(
            f"{label}: cannot be decoded ({_reason(error)}). Export it again."
        ) from error
    if len(audio) < header.frames:
        raise AudioError(
            f"{label}: truncated ({len(audio)} of {header.frames} frames). Export it again."
        )
    return audio, rate


def blocks(
    source: Path | bytes, name: str | None = None, block_s: float = 30.0
) -> Iterator[np.ndarray]:
    """Decodes a file piece by piece and yields float32 [frames, channels].

    Hours of audio need no more memory than `block_s` seconds. Raises AudioError as `read` does;
    that the file is truncated shows only at its end.
    """
    header = probe(source, name)
    label, decoded = _label(source, name), 0
    try:
        with soundfile.SoundFile(_handle(source)) as handle:
            size = max(1, int(block_s * handle.samplerate))
            while len(block := handle.read(size, dtype="float32", always_2d=True)):
                decoded += len(block)
                yield block
    except soundfile.LibsndfileError as error:
        raise AudioError(
            f"{label}: cannot be decoded ({_reason(error)}). Export it again."
        ) from error
    if decoded < header.frames:
        raise AudioError(
            f"{label}: truncated ({decoded} of {header.frames} frames). Export it again."
        )


def to_wav_bytes(audio: np.ndarray, sample_rate_hz: int, codec: str = "PCM_16") -> bytes:
    """Encodes [frames] or [frames, channels] as a WAV file and returns its bytes.

    The same samples give the same bytes. `codec` is one of WAV_CODECS.
    """
    if codec not in WAV_CODECS:
        raise ValueError(f"codec {codec!r} is not one of {', '.join(WAV_CODECS)}.")
    buffer = io.BytesIO()
    soundfile.write(buffer, np.clip(audio, -1.0, 1.0), sample_rate_hz, format="WAV", subtype=codec)
    return buffer.getvalue()


def resample(audio: np.ndarray, from_hz: float, to_hz: float) -> np.ndarray:
    """Changes the sample rate (soxr, high quality); only the number of frames changes."""
    if from_hz == to_hz:
        return audio
    return np.asarray(soxr.resample(audio, from_hz, to_hz), dtype=np.float32)


class Resampler:
    """Resamples audio that comes in blocks of [frames, channels]; call `end` after the last one."""

    def __init__(self, from_hz: float, to_hz: float, channels: int) -> None:
        self._channels = channels
        self._stream = (
            soxr.ResampleStream(from_hz, to_hz, channels, dtype="float32")
            if from_hz != to_hz
            else None
        )

    def feed(self, block: np.ndarray) -> np.ndarray:
        """Takes a block and returns the frames that are ready."""
        return self._stream.resample_chunk(np.ascontiguousarray(block)) if self._stream else block

    def end(self) -> np.ndarray:
        """Returns the frames that are still buffered."""
        nothing = np.zeros((0, self._channels), np.float32)
        return self._stream.resample_chunk(nothing, last=True) if self._stream else nothing


def telephone_band(
    audio: np.ndarray, sample_rate_hz: int, *, low_hz: float = 300.0, high_hz: float = 3400.0
) -> np.ndarray:
    """Band-passes audio to what a telephone line carries (ITU-T G.712).

    The filter is a windowed sinc with linear phase.
    """
    taps = 2 * (sample_rate_hz // 160) + 1
    at = np.arange(taps) - taps // 2
    high = min(high_hz, 0.49 * sample_rate_hz)
    kernel = 2 * high / sample_rate_hz * np.sinc(2 * high / sample_rate_hz * at)
    kernel -= 2 * low_hz / sample_rate_hz * np.sinc(2 * low_hz / sample_rate_hz * at)
    kernel = (kernel * np.hamming(taps)).astype(np.float32)
    return _per_channel(
        audio, lambda channel: np.convolve(channel, kernel, mode="same")[: len(channel)]
    )


def codec_roundtrip(audio: np.ndarray, sample_rate_hz: int, codec: str) -> np.ndarray:
    """Encodes and decodes audio with ULAW, ALAW (G.711) or GSM610 (GSM 06.10 full rate).

    GSM610 is made for 8 kHz.
    """
    if codec not in ("ULAW", "ALAW", "GSM610"):
        raise ValueError(f"codec {codec!r} is not one of ULAW, ALAW, GSM610.")

    def encode_and_decode(channel: np.ndarray) -> np.ndarray:
        buffer = io.BytesIO()
        soundfile.write(
            buffer, np.clip(channel, -1.0, 1.0), sample_rate_hz, format="WAV", subtype=codec
        )
        decoded, _ = soundfile.read(io.BytesIO(buffer.getvalue()), dtype="float32")
        # GSM works in blocks, so the decoded length may differ.
        return np.pad(decoded, (0, max(0, len(channel) - len(decoded))))[: len(channel)]

    return _per_channel(audio, encode_and_decode)


def add_noise(
    audio: np.ndarray, snr_db: float, rng: np.random.Generator, *, noise: np.ndarray | None = None
) -> np.ndarray:
    """Adds `noise` at `snr_db` below the level of the speech.

    The noise is white where none is given, and is repeated to the length of the audio.
    """
    bed = (
        rng.standard_normal(audio.shape, dtype=np.float32)
        if noise is None
        else np.resize(noise, audio.shape)
    )
    signal, floor = _speech_rms(audio), float(np.sqrt(np.mean(np.square(bed, dtype=np.float64))))
    if signal == 0 or floor == 0:
        return audio.astype(np.float32)
    noisy: np.ndarray = audio + bed * (signal / floor * 10 ** (-snr_db / 20))
    return noisy.astype(np.float32)


def packet_loss(
    audio: np.ndarray,
    sample_rate_hz: int,
    *,
    share: float,
    rng: np.random.Generator,
    packet_s: float = 0.02,
) -> np.ndarray:
    """Loses about `share` of the packets; each is concealed by a fading repeat of the last one."""
    size = max(1, int(packet_s * sample_rate_hz))
    received = np.array(audio, dtype=np.float32)
    lost = rng.random(len(audio) // size) < share
    for packet in np.flatnonzero(lost):
        begin = packet * size
        received[begin : begin + size] = received[begin - size : begin] * 0.5 if packet else 0.0
    return received


def level_dbfs(audio: np.ndarray) -> float:
    """Returns the root mean square of `audio` in dB below full scale; -inf for digital silence."""
    power = float(np.mean(np.square(audio, dtype=np.float64))) if audio.size else 0.0
    return 10 * np.log10(power) if power > 0 else float("-inf")


def clipped_share(audio: np.ndarray) -> float:
    """Returns the share of samples at or beyond the loudest step of G.711.

    Pass one channel at a time to judge each.
    """
    return float(np.mean(np.abs(audio) >= CLIPPED_FROM)) if audio.size else 0.0


def silent_share(
    audio: np.ndarray,
    sample_rate_hz: int,
    *,
    floor_dbfs: float = SILENCE_DBFS,
    window_s: float = 0.02,
) -> float:
    """Returns the share of windows with a level below `floor_dbfs`, counting all channels.

    It is 1.0 for an empty signal.
    """
    size = max(1, int(window_s * sample_rate_hz))
    whole = len(audio) // size * size
    if whole == 0:
        return float(level_dbfs(audio) < floor_dbfs)
    windows = np.asarray(audio[:whole], dtype=np.float32).reshape(whole // size, size, -1)
    power = np.mean(np.square(windows), axis=1)
    return float(np.mean(power < 10 ** (floor_dbfs / 10)))


def _speech_rms(audio: np.ndarray) -> float:
    """RMS of the louder part, so that pauses do not make speech look quiet."""
    loud = np.abs(audio)
    speech = audio[loud > 0.1 * float(loud.max())] if loud.size and loud.max() > 0 else audio
    return float(np.sqrt(np.mean(np.square(speech, dtype=np.float64)))) if speech.size else 0.0


def _per_channel(audio: np.ndarray, transform: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    if audio.ndim == 1:
        return np.asarray(transform(audio), dtype=np.float32)
    return np.stack([transform(channel) for channel in audio.T], axis=1).astype(np.float32)


def _refuse_truncated_wav(source: Path | bytes, label: str) -> None:
    """Raises AudioError for a WAV with fewer bytes than its header says.

    libsndfile reads what is left of a truncated WAV without an error, so the header is checked
    here.
    """
    handle = io.BytesIO(source) if isinstance(source, bytes) else source.open("rb")
    with handle:
        size = handle.seek(0, io.SEEK_END)
        handle.seek(0)
        if size == 0:
            raise AudioError(f"{label}: the file is empty. Export it again.")
        riff = handle.read(12)
        if riff[:4] != b"RIFF" or riff[8:] != b"WAVE":
            return
        while len(header := handle.read(8)) == 8:
            chunk, length = header[:4], struct.unpack("<I", header[4:])[0]
            available = size - handle.tell()
            if chunk == b"data":
                if length not in _UNKNOWN_SIZES and length > available:
                    raise AudioError(
                        f"{label}: truncated ({available} of {length} bytes of audio). Export it "
                        "again."
                    )
                return
            handle.seek(length + length % 2, io.SEEK_CUR)
        raise AudioError(f"{label}: truncated (a WAV header without audio). Export it again.")


def _handle(source: Path | bytes) -> io.BytesIO | str:
    return io.BytesIO(source) if isinstance(source, bytes) else str(source)


def _label(source: Path | bytes, name: str | None) -> str:
    return name or ("audio" if isinstance(source, bytes) else str(source))


def _codec(container: str, subtype: str) -> str:
    return "FLAC" if container == "FLAC" else subtype


def _reason(error: soundfile.LibsndfileError) -> str:
    return str(error.error_string).rstrip(". ")
