"""Speech in memory for training: a corpus of 16 kHz utterances, and what telephones and rooms do to a batch of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from data.audio import SAMPLE_RATE_HZ
from data.speech.telephone import (
    BackgroundSounds,
    Telephony,
    apply_random_effects,
    load_background_sounds,
)

if TYPE_CHECKING:
    import torch

FRAME = 320  # samples in 20 ms
MARGIN = 2 * FRAME  # kept on either side of speech, whose first and last sounds are faint
LEAST_SPEECH = 10 ** (-35 / 20)  # level of what may be speech, against the loudest twentieth
LEAST_SPEECH_IN_NOISE = 10 ** (-20 / 20)  # what is that loud is speech, however loud the rest


@dataclass(frozen=True)
class Augmentation:
    """What is done to training speech; each share is the chance that an utterance gets it."""

    telephone_share: float = 0.5  # 300-3400 Hz band, 8 kHz, mu-law round trip
    noise_share: float = 0.5  # white to brown noise, or the murmur of another utterance
    noise_snr_db_min: float = 8.0  # loudest noise, signal over noise
    noise_snr_db_max: float = 35.0  # faintest noise
    speed_spread: float = 0.1  # pace and pitch change by up to this share either way
    quiet_share: float = (
        0.5  # cut anew: to its speech, then up to quiet_s of the line's own quiet on either side
    )
    quiet_s: float = 0.6  # so much of it at most
    frequency_masks: int = 2  # SpecAugment: masked bands an utterance
    frequency_width: int = 8  # SpecAugment: widest band, of the model's mel features
    time_masks: int = 2  # SpecAugment: masked stretches an utterance
    time_width: float = 0.03  # SpecAugment: longest stretch, as a share of the utterance
    telephony: Telephony = field(default_factory=Telephony)  # further effects, each with its share


class Utterances:
    """What all sets of utterances have, wherever their audio lies: lengths in samples at 16 kHz, and texts."""

    frames: np.ndarray  # int64 [utterances]
    texts: list[str]

    def __len__(self) -> int:
        return len(self.texts)

    @property
    def duration_s(self) -> np.ndarray:
        """float64 [utterances]."""
        return self.frames / SAMPLE_RATE_HZ


@dataclass
class Corpus(Utterances):
    """Utterances laid end to end. `audio` is int16 [samples] at 16 kHz (it may be a memory map)."""

    audio: np.ndarray
    start: np.ndarray  # int64 [utterances], first sample
    frames: np.ndarray  # int64 [utterances], length in samples
    texts: list[str]

    def wave(self, index: int, speed: float = 1.0) -> np.ndarray:
        """float32 [frames] within [-1, 1]; at `speed` 1.1 a tenth shorter and higher (linear interpolation)."""
        samples = (
            self.audio[self.start[index] : self.start[index] + self.frames[index]].astype(
                np.float32
            )
            / 32768
        )
        if speed == 1.0:
            return samples
        at = np.arange(0, len(samples) - 1, speed, dtype=np.float64)
        return np.interp(at, np.arange(len(samples)), samples).astype(np.float32)


def recrop_speech(wave: np.ndarray, settings: Augmentation, rng: np.random.Generator) -> np.ndarray:
    """`wave` (float32 [frames], 16 kHz), for its share only its speech, between noise as faint as its faint moments.

    Networks that normalise features over an utterance hear it otherwise when there is more quiet in it, or less.
    """
    if not settings.quiet_share or rng.random() >= settings.quiet_share:
        return wave
    before, after = (rng.uniform(0, settings.quiet_s, 2) * SAMPLE_RATE_HZ).astype(int)
    begin, end, faint = speech_in(wave)
    around = rng.standard_normal(before + end - begin + after, np.float32) * faint
    around[before : before + end - begin] = wave[begin:end]
    return around


def speech_in(wave: np.ndarray) -> tuple[int, int, float]:
    """First and last sample of what is louder than the quiet of one utterance, and how loud (RMS) that quiet is.

    By energy in steps of 20 ms: enough where somebody is known to speak. models.segments finds speech in calls.
    """
    if len(wave) < FRAME:
        return 0, len(wave), 0.0
    level = np.sqrt((wave[: len(wave) // FRAME * FRAME].reshape(-1, FRAME) ** 2).mean(axis=1))
    faint, loud = (float(value) for value in np.quantile(level, [0.05, 0.95]))
    spoken = np.flatnonzero(
        level > np.clip(2 * faint, loud * LEAST_SPEECH, loud * LEAST_SPEECH_IN_NOISE)
    )
    if not len(spoken):
        return 0, len(wave), faint
    begin, end = int(spoken[0]) * FRAME - MARGIN, (int(spoken[-1]) + 1) * FRAME + MARGIN
    return max(0, begin), min(len(wave), end), faint


def collate(waves: list[np.ndarray]) -> tuple[torch.Tensor, torch.Tensor]:
    """Waves of different lengths as (float32 [batch, longest], int64 [batch]), zeros behind the shorter ones."""
    import torch

    lengths = np.array([len(wave) for wave in waves])
    longest = (
        -(-int(lengths.max()) // 4000) * 4000
    )  # few distinct sizes, and quick ones for the FFT
    batch = np.zeros((len(waves), longest), np.float32)
    for row, wave in zip(batch, waves, strict=True):
        row[: len(wave)] = wave
    return torch.from_numpy(batch), torch.from_numpy(lengths)


def augment(
    batch: torch.Tensor, lengths: torch.Tensor, settings: Augmentation, rng: np.random.Generator
) -> torch.Tensor:
    """The effects of data.telephone first, then noise, then the telephone, each for its share of the rows.

    float32 [batch, samples], 16 kHz; new tensor. Noise and telephone are made for the whole batch at once, which is
    what a training step can afford often; effects go row by row, 1 to 20 ms for a second of speech.
    """
    import torch

    if settings.telephony.shares:
        batch = _effects(batch, lengths, settings.telephony, rng)
    inside = torch.arange(batch.shape[1])[None, :] < lengths[:, None]
    noisy = rng.random(len(batch)) < settings.noise_share
    if noisy.any():
        noise = _noise(batch, rng)
        snr_db = rng.uniform(settings.noise_snr_db_min, settings.noise_snr_db_max, len(batch))
        power = batch.square().sum(1) / lengths
        noise_power = (noise.square() * inside).sum(1) / lengths + 1e-10
        gain = torch.sqrt(power / noise_power * torch.from_numpy(10 ** (-snr_db / 10)).float())
        gain = gain * torch.from_numpy(noisy).float()
        batch = batch + gain[:, None] * noise * inside
    on_the_phone = rng.random(len(batch)) < settings.telephone_share
    if on_the_phone.any():
        rows = torch.from_numpy(np.flatnonzero(on_the_phone))
        batch = batch.index_copy(0, rows, telephone(batch[rows], rng)) * inside
    return batch


def telephone(batch: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """A G.711 call: band of about 300-3400 Hz, 8 kHz, 255-mu-law in 8 bits and back to 16 kHz.

    float32 [batch, samples] in, the same out; the samples' count must be even. Source: ITU-T G.711, G.712.
    """
    import torch

    count, samples = batch.shape
    spectrum = torch.fft.rfft(batch)[:, : samples // 4 + 1]
    hz = torch.arange(spectrum.shape[1]) * (SAMPLE_RATE_HZ / samples)
    low = torch.from_numpy(rng.uniform(100, 350, (count, 1))).float()
    high = torch.from_numpy(rng.uniform(3200, 3700, (count, 1))).float()
    band = torch.sigmoid((hz - low) / 20) * torch.sigmoid(
        (high - hz) / 40
    )  # edges as soft as a filter's
    narrow = torch.fft.irfft(spectrum * band, n=samples // 2) / 2
    level = torch.from_numpy(
        10 ** rng.uniform(-1.2, -0.1, (count, 1))
    ).float()  # a quiet line has coarser steps
    peak = narrow.abs().amax(1, keepdim=True).clamp_min(1e-5)
    coded = torch.sign(narrow) * torch.log1p(255 * (narrow / peak * level).abs()) / np.log(256)
    coded = torch.round(coded * 127) / 127
    decoded = torch.sign(coded) * torch.expm1(coded.abs() * np.log(256)) / 255 * peak / level
    return torch.fft.irfft(torch.fft.rfft(decoded), n=samples) * 2


def _effects(
    batch: torch.Tensor, lengths: torch.Tensor, settings: Telephony, rng: np.random.Generator
) -> torch.Tensor:
    """Each row after the effects that fell to it; crosstalk comes from the row before."""
    import torch

    sounds = load_background_sounds(settings.noise_dir, settings.music_dir, SAMPLE_RATE_HZ)
    rows = [row[:length].numpy() for row, length in zip(batch, lengths.tolist(), strict=True)]
    changed = batch.clone()
    for number, row in enumerate(rows):
        other = rows[number - 1] if len(rows) > 1 else row[:0]
        speech = ((other, SAMPLE_RATE_HZ),) if other.any() else ()
        heard = apply_random_effects(
            row,
            SAMPLE_RATE_HZ,
            settings=settings,
            sounds=BackgroundSounds(sounds.noise, sounds.music, speech),
            rng=rng,
        )
        changed[number, : len(row)] = torch.from_numpy(np.array(heard))
    return changed


def _noise(batch: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """For each row either coloured noise (power falling by 0 to 2 octave slopes) or another row's speech."""
    import torch

    count, samples = batch.shape
    white = torch.from_numpy(rng.standard_normal((count, samples), dtype=np.float32))
    slope = torch.from_numpy(rng.uniform(0, 1, (count, 1))).float()
    shape = torch.arange(1, samples // 2 + 2)[None, :].float() ** -slope
    coloured = torch.fft.irfft(torch.fft.rfft(white) * shape, n=samples)
    murmur = (
        torch.from_numpy(rng.random(count) < 0.25)
        if count > 1
        else torch.zeros(count, dtype=torch.bool)
    )
    return torch.where(murmur[:, None], batch.roll(1, 0), coloured)
