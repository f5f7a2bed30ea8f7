"""Holds utterances at 16 kHz in memory and augments batches: noise, telephone, cropping, speed."""

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
# Levels over that of the loudest twentieth of an utterance:
MIN_SPEECH_LEVEL = 10 ** (-35 / 20)  # what is fainter is no speech
SURE_SPEECH_LEVEL = 10 ** (-20 / 20)  # what is louder is speech, even in noise


@dataclass(frozen=True)
class Augmentation:
    """How training speech is augmented; each share is the probability for an utterance."""

    telephone_share: float = 0.5  # 300-3400 Hz band, 8 kHz, mu-law round trip
    noise_share: float = 0.5  # white to brown noise, or another utterance in the background
    noise_snr_db_min: float = 8.0  # loudest noise, signal over noise
    noise_snr_db_max: float = 35.0  # faintest noise
    speed_spread: float = 0.1  # pace and pitch change by up to this share either way
    # Cropped to its speech, then padded by up to quiet_s of its own background on either side.
    quiet_share: float = 0.5
    quiet_s: float = 0.6  # longest padding
    frequency_masks: int = 2  # SpecAugment: masked bands an utterance
    frequency_width: int = 8  # SpecAugment: widest band, of the model's mel features
    time_masks: int = 2  # SpecAugment: masked stretches an utterance
    time_width: float = 0.03  # SpecAugment: longest stretch, as a share of the utterance
    telephony: Telephony = field(default_factory=Telephony)  # further effects, each with its share


class Utterances:
    """A set of utterances, wherever their audio is: samples at 16 kHz, and texts."""

    frames: np.ndarray  # int64 [utterances]
    texts: list[str]

    def __len__(self) -> int:
        return len(self.texts)

    @property
    def duration_s(self) -> np.ndarray:
        """Durations, float64 [utterances]."""
        seconds: np.ndarray = self.frames / SAMPLE_RATE_HZ
        return seconds


@dataclass
class Corpus(Utterances):
    """Utterances one after the other in `audio`, int16 [samples] at 16 kHz (or a memory map)."""

    audio: np.ndarray
    start: np.ndarray  # int64 [utterances], first sample
    frames: np.ndarray  # int64 [utterances], length in samples
    texts: list[str]

    def wave(self, index: int, speed: float = 1.0) -> np.ndarray:
        """Returns float32 [samples] within [-1, 1].

        At `speed` 1.1 it is a tenth shorter and higher (linear interpolation).
        """
        begin = self.start[index]
        pcm = self.audio[begin : begin + self.frames[index]]
        samples: np.ndarray = pcm.astype(np.float32) / 32768
        if speed == 1.0:
            return samples
        at = np.arange(0, len(samples) - 1, speed, dtype=np.float64)
        resampled: np.ndarray = np.interp(at, np.arange(len(samples)), samples).astype(np.float32)
        return resampled


def recrop_speech(wave: np.ndarray, settings: Augmentation, rng: np.random.Generator) -> np.ndarray:
    """Returns `wave` cropped to its speech and padded with noise at the level of its background.

    `wave` is float32 [samples] at 16 kHz; all but `quiet_share` of the calls return it unchanged.
    Networks that normalise features over an utterance depend on how much silence is in it.
    """
    if not settings.quiet_share or rng.random() >= settings.quiet_share:
        return wave
    before, after = (rng.uniform(0, settings.quiet_s, 2) * SAMPLE_RATE_HZ).astype(int)
    begin, end, background = find_speech(wave)
    noise = rng.standard_normal(before + end - begin + after, np.float32)
    padded: np.ndarray = noise * background
    padded[before : before + end - begin] = wave[begin:end]
    return padded


def find_speech(wave: np.ndarray) -> tuple[int, int, float]:
    """Returns (first sample, last sample, background level) of the speech in one utterance.

    Speech is what is louder than the background, whose level is an RMS. It goes by energy in steps
    of 20 ms: enough where somebody is known to speak. models.asr.segments finds speech in calls.
    """
    if len(wave) < FRAME:
        return 0, len(wave), 0.0
    level = np.sqrt((wave[: len(wave) // FRAME * FRAME].reshape(-1, FRAME) ** 2).mean(axis=1))
    faint, loud = (float(value) for value in np.quantile(level, [0.05, 0.95]))
    spoken = np.flatnonzero(
        level > np.clip(2 * faint, loud * MIN_SPEECH_LEVEL, loud * SURE_SPEECH_LEVEL)
    )
    if not len(spoken):
        return 0, len(wave), faint
    begin, end = int(spoken[0]) * FRAME - MARGIN, (int(spoken[-1]) + 1) * FRAME + MARGIN
    return max(0, begin), min(len(wave), end), faint


def collate(waves: list[np.ndarray]) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns waves zero-padded to one length: float32 [batch, longest], int64 [batch] lengths."""
    import torch

    lengths = np.array([len(wave) for wave in waves])
    # Rounded up to 4000: few distinct sizes, and quick ones for the FFT.
    longest = -(-int(lengths.max()) // 4000) * 4000
    batch = np.zeros((len(waves), longest), np.float32)
    for row, wave in zip(batch, waves, strict=True):
        row[: len(wave)] = wave
    return torch.from_numpy(batch), torch.from_numpy(lengths)


def augment(
    batch: torch.Tensor, lengths: torch.Tensor, settings: Augmentation, *, rng: np.random.Generator
) -> torch.Tensor:
    """Returns a batch after telephony effects, then noise, then the telephone, each on its share.

    float32 [batch, samples] at 16 kHz; a new tensor. Noise and telephone are computed for the whole
    batch at once, which a training step can afford often; the effects of data.speech.telephone go
    row by row, 1 to 20 ms for a second of speech.
    """
    import torch

    if settings.telephony.shares:
        batch = _apply_effects(batch, lengths, settings.telephony, rng=rng)
    not_padding = torch.arange(batch.shape[1])[None, :] < lengths[:, None]
    noisy = rng.random(len(batch)) < settings.noise_share
    if noisy.any():
        noise = _make_noise(batch, rng)
        snr_db = rng.uniform(settings.noise_snr_db_min, settings.noise_snr_db_max, len(batch))
        power = batch.square().sum(1) / lengths
        noise_power = (noise.square() * not_padding).sum(1) / lengths + 1e-10
        gain = torch.sqrt(power / noise_power * torch.from_numpy(10 ** (-snr_db / 10)).float())
        gain = gain * torch.from_numpy(noisy).float()
        batch = batch + gain[:, None] * noise * not_padding
    by_phone = rng.random(len(batch)) < settings.telephone_share
    if by_phone.any():
        rows = torch.from_numpy(np.flatnonzero(by_phone))
        batch = batch.index_copy(0, rows, simulate_telephone(batch[rows], rng)) * not_padding
    return batch


def simulate_telephone(batch: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Returns a batch after a G.711 call: about 300-3400 Hz, 8 kHz, 8 bit mu-law, back to 16 kHz.

    float32 [batch, samples] in, the same out; the number of samples must be even. Source: ITU-T
    G.711, G.712.
    """
    import torch

    count, samples = batch.shape
    spectrum = torch.fft.rfft(batch)[:, : samples // 4 + 1]
    hz = torch.arange(spectrum.shape[1]) * (SAMPLE_RATE_HZ / samples)
    low = torch.from_numpy(rng.uniform(100, 350, (count, 1))).float()
    high = torch.from_numpy(rng.uniform(3200, 3700, (count, 1))).float()
    # Edges as soft as a filter's.
    band = torch.sigmoid((hz - low) / 20) * torch.sigmoid((high - hz) / 40)
    narrow = torch.fft.irfft(spectrum * band, n=samples // 2) / 2
    # A quiet line has coarser quantisation steps.
    level = torch.from_numpy(10 ** rng.uniform(-1.2, -0.1, (count, 1))).float()
    peak = narrow.abs().amax(1, keepdim=True).clamp_min(1e-5)
    coded = torch.sign(narrow) * torch.log1p(255 * (narrow / peak * level).abs()) / np.log(256)
    coded = torch.round(coded * 127) / 127
    decoded = torch.sign(coded) * torch.expm1(coded.abs() * np.log(256)) / 255 * peak / level
    upsampled: torch.Tensor = torch.fft.irfft(torch.fft.rfft(decoded), n=samples) * 2
    return upsampled


def _apply_effects(
    batch: torch.Tensor, lengths: torch.Tensor, settings: Telephony, *, rng: np.random.Generator
) -> torch.Tensor:
    """Returns the batch after the effects drawn for each row; crosstalk is the row before."""
    import torch

    sounds = load_background_sounds(settings.noise_dir, settings.music_dir, SAMPLE_RATE_HZ)
    rows = [row[:length].numpy() for row, length in zip(batch, lengths.tolist(), strict=True)]
    changed = batch.clone()
    for number, row in enumerate(rows):
        other = rows[number - 1] if len(rows) > 1 else row[:0]
        speech = ((other, SAMPLE_RATE_HZ),) if other.any() else ()
        wave = apply_random_effects(
            row,
            SAMPLE_RATE_HZ,
            settings=settings,
            sounds=BackgroundSounds(sounds.noise, sounds.music, speech),
            rng=rng,
        )
        changed[number, : len(row)] = torch.from_numpy(np.array(wave))
    return changed


def _make_noise(batch: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Returns noise for each row: coloured (amplitude falling as 1/f^0 to 1/f) or another row."""
    import torch

    count, samples = batch.shape
    white = torch.from_numpy(rng.standard_normal((count, samples), dtype=np.float32))
    slope = torch.from_numpy(rng.uniform(0, 1, (count, 1))).float()
    shape = torch.arange(1, samples // 2 + 2)[None, :].float() ** -slope
    coloured = torch.fft.irfft(torch.fft.rfft(white) * shape, n=samples)
    from_speech = (
        torch.from_numpy(rng.random(count) < 0.25)
        if count > 1
        else torch.zeros(count, dtype=torch.bool)
    )
    return torch.where(from_speech[:, None], batch.roll(1, 0), coloured)
