"""Simulates what a telephone call does to speech: one small transform for each effect.

A transform takes float32 samples [frames] within about [-1, 1], their rate in Hz and a random
generator, and returns samples of the same rate; the same seed gives the same bytes. All but `Speed`
keep the number of frames. `effect` makes one from a name such as mulaw, packet_loss_10pct,
noise_10db or room+gsm; `EFFECTS` lists them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from data.audio import AudioError, add_noise, codec_roundtrip, read, resample, telephone_band

Transform = Callable[[np.ndarray, int, np.random.Generator], np.ndarray]
LINE_RATE_HZ = 8000
_SOUNDS = (".wav", ".ogg", ".flac", ".mp3", ".opus")


@dataclass(frozen=True)
class BackgroundSounds:
    """Recorded background sounds, as (samples [frames], rate in Hz); empty where there are none."""

    noise: tuple[tuple[np.ndarray, int], ...] = ()
    music: tuple[tuple[np.ndarray, int], ...] = ()
    speech: tuple[tuple[np.ndarray, int], ...] = ()


@dataclass(frozen=True)
class Line:
    """A digital telephone line: band-pass, 8 kHz, encoding and decoding.

    Sources: ITU-T G.711, G.712; GSM 06.10.
    """

    codec: str = "ULAW"  # ULAW, ALAW or GSM610
    low_hz: float = 300.0
    high_hz: float = 3400.0

    def __call__(
        self, samples: np.ndarray, sample_rate_hz: int, rng: np.random.Generator
    ) -> np.ndarray:
        narrow = resample(
            telephone_band(samples, sample_rate_hz, low_hz=self.low_hz, high_hz=self.high_hz),
            sample_rate_hz,
            8000,
        )
        return _as_long(
            resample(codec_roundtrip(narrow, LINE_RATE_HZ, self.codec), 8000, sample_rate_hz),
            samples,
        )


@dataclass(frozen=True)
class Band:
    """The band of a codec without its quantisation: AMR-NB (200-3400 Hz) or AMR-WB (50-7000 Hz)."""

    low_hz: float = 200.0
    high_hz: float = 3400.0

    def __call__(
        self, samples: np.ndarray, sample_rate_hz: int, rng: np.random.Generator
    ) -> np.ndarray:
        return telephone_band(samples, sample_rate_hz, low_hz=self.low_hz, high_hz=self.high_hz)


@dataclass(frozen=True)
class PacketLoss:
    """Loses packets in bursts; a gap is filled with the fading repeat of the last packet.

    Losses follow a two-state Markov chain (Gilbert 1960) whose bursts last `burst` packets on
    average.
    """

    percent: float = 5.0  # of the packets, in the long run
    burst: float = 2.0  # packets
    packet_s: float = 0.02

    def __post_init__(self) -> None:
        """Raises ValueError for bursts shorter than a packet."""
        if not self.burst >= 1:
            raise ValueError(f"packet_loss: burst is {self.burst} packets; it must be 1 or more.")

    def __call__(
        self, samples: np.ndarray, sample_rate_hz: int, rng: np.random.Generator
    ) -> np.ndarray:
        size = max(1, int(self.packet_s * sample_rate_hz))
        received = np.array(samples, np.float32)
        share = min(max(self.percent / 100, 0.0), 0.95)
        stays, comes = 1 - 1 / self.burst, share / (1 - share) / self.burst
        lost, draws = bool(rng.random() < share), rng.random(-(-len(received) // size))
        for number, draw in enumerate(draws):
            begin = number * size
            if lost:
                gap = received[begin : begin + size]
                gap[:] = 0.5 * received[begin - size : begin][: len(gap)] if number else 0.0
            lost = draw < (stays if lost else comes)
        return received


@dataclass(frozen=True)
class Noise:
    """Noise `db` below the speech: a recording if there are any, else white to brown at random."""

    db: float = 10.0  # signal to noise
    sounds: tuple[tuple[np.ndarray, int], ...] = field(default=(), repr=False)

    def __call__(
        self, samples: np.ndarray, sample_rate_hz: int, rng: np.random.Generator
    ) -> np.ndarray:
        if not self.sounds:
            white = np.fft.rfft(rng.standard_normal(len(samples)))
            slope = rng.uniform(0, 1)  # of the amplitude: 0 white, 0.5 pink, 1 brown
            bed = np.fft.irfft(white * np.arange(1, len(white) + 1) ** -slope, len(samples))
            return add_noise(samples, self.db, rng, noise=bed)
        return add_noise(
            samples,
            self.db,
            rng,
            noise=_piece(self.sounds, frames=len(samples), sample_rate_hz=sample_rate_hz, rng=rng),
        )


@dataclass(frozen=True)
class Music(Noise):
    """Hold music under the voice: a recording, or two tones of random pitch where there is none."""

    def __call__(
        self, samples: np.ndarray, sample_rate_hz: int, rng: np.random.Generator
    ) -> np.ndarray:
        if self.sounds:
            return super().__call__(samples, sample_rate_hz, rng)
        at = np.arange(len(samples)) / sample_rate_hz
        notes = 220 * 2 ** (rng.integers(0, 24, (2, int(at[-1] / 0.4) + 1 if len(at) else 1)) / 12)
        pitch = notes[:, np.minimum((at / 0.4).astype(int), notes.shape[1] - 1)]
        return add_noise(
            samples,
            self.db,
            rng,
            noise=np.sin(2 * np.pi * np.cumsum(pitch, 1) / sample_rate_hz).sum(0),
        )


@dataclass(frozen=True)
class Crosstalk(Noise):
    """The other side of the call, `db` below the speech: other speech, or noise without any."""

    db: float = 15.0


@dataclass(frozen=True)
class Speed:
    """Changes pace and pitch to `percent` of what they were, by resampling; 100 leaves both."""

    percent: float = 110.0

    def __call__(
        self, samples: np.ndarray, sample_rate_hz: int, rng: np.random.Generator
    ) -> np.ndarray:
        return resample(samples, sample_rate_hz, sample_rate_hz * 100 / self.percent)


@dataclass(frozen=True)
class Room:
    """The reverberation of a room whose echo falls by 60 dB in `ms` (Moorer 1979).

    It is the direct sound, followed by noise that decays exponentially.
    """

    ms: float = 300.0
    direct_to_echo_db: float = 6.0

    def __call__(
        self, samples: np.ndarray, sample_rate_hz: int, rng: np.random.Generator
    ) -> np.ndarray:
        frames = max(2, int(self.ms / 1000 * sample_rate_hz))
        echo = rng.standard_normal(frames) * 10 ** (-3 * np.arange(frames) / frames)
        echo[: int(0.002 * sample_rate_hz)] = 0.0  # the first wall is at some distance
        echo *= 10 ** (-self.direct_to_echo_db / 20) / np.sqrt(np.sum(echo**2) + 1e-12)
        echo[0] = 1.0
        size = 1 << (len(samples) + frames - 1).bit_length()
        wet = np.fft.irfft(np.fft.rfft(samples, size) * np.fft.rfft(echo, size), size)[
            : len(samples)
        ]
        level = np.sqrt(np.sum(np.square(samples, dtype=np.float64)) / (np.sum(wet**2) + 1e-12))
        return np.asarray(wet * level, dtype=np.float32)


@dataclass(frozen=True)
class Chain:
    """Applies one transform after the other."""

    transforms: tuple[Transform, ...] = ()

    def __call__(
        self, samples: np.ndarray, sample_rate_hz: int, rng: np.random.Generator
    ) -> np.ndarray:
        for transform in self.transforms if len(samples) else ():
            samples = transform(samples, sample_rate_hz, rng)
        return np.asarray(samples, np.float32)


# In the order in which a call meets them. A name may carry the transform's first number:
# noise_10db, room_500ms.
EFFECTS: Mapping[str, tuple[Callable[..., Transform], str, str]] = {
    "speed": (Speed, "percent", "pct"),
    "room": (Room, "ms", "ms"),
    "noise": (Noise, "db", "db"),
    "music": (Music, "db", "db"),
    "crosstalk": (Crosstalk, "db", "db"),
    "amr_nb": (Band, "", ""),
    "amr_wb": (lambda: Band(50.0, 7000.0), "", ""),
    "mulaw": (Line, "", ""),
    "alaw": (lambda: Line("ALAW"), "", ""),
    "gsm": (lambda: Line("GSM610"), "", ""),
    "packet_loss": (PacketLoss, "percent", "pct"),
}
CLEAN = "as_delivered"


def effect(name: str, sounds: BackgroundSounds = BackgroundSounds()) -> Transform:
    """Returns the transform of that name; several joined by + follow each other.

    Raises ValueError listing the effects for an unknown name.
    """
    return Chain(tuple(_single_effect(part, sounds) for part in name.split("+") if part != CLEAN))


def _single_effect(name: str, sounds: BackgroundSounds) -> Transform:
    match = re.fullmatch(r"([a-z_]+?)(?:_(\d+(?:\.\d+)?)(db|pct|ms))?", name)
    if match and match[1] in EFFECTS:
        make, setting, unit = EFFECTS[match[1]]
        more: dict[str, Any] = {}
        if match[2] and match[3] == unit:
            more[setting] = float(match[2])
        if match[1] in _SOUNDS_OF:
            more["sounds"] = getattr(sounds, _SOUNDS_OF[match[1]])
        if not match[2] or setting in more:
            return make(**more)
    names = ", ".join(
        f"{effect_name}_<number>{unit}" if unit else effect_name
        for effect_name, (_, _, unit) in EFFECTS.items()
    )
    raise ValueError(
        f"{name!r} is no telephone effect. There are {CLEAN}, {names}, and several joined by +."
    )


_SOUNDS_OF = {"noise": "noise", "music": "music", "crosstalk": "speech"}


@dataclass(frozen=True)
class Telephony:
    """How often training speech gets each effect."""

    # effect (EFFECTS) → probability that an utterance gets it
    shares: dict[str, float] = field(default_factory=dict)
    noise_dir: str = ""  # folder of recorded noise; synthetic where empty
    music_dir: str = ""  # folder of hold music; synthetic where empty

    def __post_init__(self) -> None:
        """Raises ValueError for an unknown effect or a share that is none."""
        for name, share in self.shares.items():
            effect(name)
            if not 0 <= share <= 1:
                raise ValueError(
                    f"telephony: the share of {name} is {share}; it must lie between 0 and 1."
                )
            if "speed" in name:
                raise ValueError(
                    "telephony: speed changes the length. Set augmentation.speed_spread instead."
                )


def apply_random_effects(
    samples: np.ndarray,
    sample_rate_hz: int,
    *,
    settings: Telephony,
    sounds: BackgroundSounds,
    rng: np.random.Generator,
) -> np.ndarray:
    """Applies each effect with its probability, in the order in which a call meets them."""
    order = [CLEAN, *EFFECTS]
    for name in sorted(
        settings.shares, key=lambda name: (order.index(re.sub(r"(_\d.*|\+.*)", "", name)), name)
    ):
        if rng.random() < settings.shares[name]:
            samples = effect(name, sounds)(samples, sample_rate_hz, rng)
    return samples


@cache
def load_background_sounds(
    noise_dir: str = "", music_dir: str = "", sample_rate_hz: int = 16000
) -> BackgroundSounds:
    """Decodes the recordings in two folders once, first channel.

    Raises FileNotFoundError for an empty folder.
    """
    return BackgroundSounds(
        _recordings(noise_dir, sample_rate_hz), _recordings(music_dir, sample_rate_hz)
    )


def _recordings(folder: str, sample_rate_hz: int) -> tuple[tuple[np.ndarray, int], ...]:
    if not folder:
        return ()
    files = sorted(path for path in Path(folder).glob("*") if path.suffix.lower() in _SOUNDS)
    if not files:
        raise FileNotFoundError(
            f"{folder}: no sound file in it ({', '.join(_SOUNDS)}). Name a folder of recordings."
        )
    recordings = []
    for path in files:
        samples, rate = read(path)
        if not np.abs(samples[:, 0]).max() > 0:
            raise AudioError(f"{path}: digital silence. Take it out of the folder.")
        recordings.append((resample(samples[:, 0], rate, sample_rate_hz), sample_rate_hz))
    return tuple(recordings)


def _piece(
    sounds: Sequence[tuple[np.ndarray, int]],
    *,
    frames: int,
    sample_rate_hz: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """A stretch of one of the sounds, from a random place, repeated where it is shorter."""
    sound, rate = sounds[int(rng.integers(len(sounds)))]
    sound = resample(sound, rate, sample_rate_hz)
    begin = int(rng.integers(len(sound)))
    return np.take(sound, np.arange(begin, begin + frames), mode="wrap")


def _as_long(samples: np.ndarray, like: np.ndarray) -> np.ndarray:
    return np.pad(samples, (0, max(0, len(like) - len(samples))))[: len(like)]
