"""Speech in memory and its augmentation: telephone, noise, recropping, speed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from training.asr.speech import (
    Augmentation,
    Corpus,
    augment,
    collate,
    find_speech,
    recrop_speech,
    simulate_telephone,
)

QUIET = Augmentation(
    telephone_share=0, noise_share=0, speed_spread=0, quiet_share=0, frequency_masks=0, time_masks=0
)


def test_a_telephone_keeps_its_band_and_takes_the_rest() -> None:
    import torch

    at = np.arange(16000) / 16000
    tones = {
        hz: torch.from_numpy(0.3 * np.sin(2 * np.pi * hz * at)).float()[None]
        for hz in (50, 1000, 5000)
    }
    kept = {
        hz: float((simulate_telephone(tone, np.random.default_rng(0)) ** 2).mean() / 0.045)
        for hz, tone in tones.items()
    }
    assert kept[1000] == pytest.approx(1, abs=0.1)
    assert kept[5000] < 0.01
    assert kept[50] < 0.2
    mixed = tones[1000] * 0.5
    assert not torch.equal(simulate_telephone(mixed, np.random.default_rng(0)), mixed)


def test_A4_speech_is_cut_anew_out_of_its_quiet_and_laid_into_more_of_the_same() -> None:
    rng = np.random.default_rng(0)
    quiet, speech = rng.normal(0, 0.01, (2, 32000)), rng.normal(0, 0.3, 16000)
    wave = np.concatenate([quiet[0], speech, quiet[1]]).astype(np.float32)
    begin, end, faint = find_speech(wave)
    assert 32000 - 1000 < begin <= 32000 < 48000 <= end < 48000 + 1000
    assert faint == pytest.approx(0.01, rel=0.2)
    lengths = []
    for _ in range(20):
        summary = recrop_speech(wave, replace(QUIET, quiet_share=1.0, quiet_s=0.5), rng)
        at = next(
            i
            for i in range(len(summary))
            if np.array_equal(summary[i : i + 100], wave[begin : begin + 100])
        )
        assert np.array_equal(summary[at : at + end - begin], wave[begin:end])
        assert max(at, len(summary) - at - (end - begin)) <= 8000
        if at > 3000:
            assert summary[: at - 1000].std() == pytest.approx(0.01, rel=0.3)
        lengths.append(len(summary))
    assert len(set(lengths)) > 10
    shares = [
        recrop_speech(wave, replace(QUIET, quiet_share=0.3), rng) is not wave for _ in range(300)
    ]
    assert 0.2 < np.mean(shares) < 0.4


def test_A4_what_is_short_or_all_alike_is_speech() -> None:
    for wave in (np.ones(100, np.float32), np.ones(3200, np.float32), np.zeros(3200, np.float32)):
        assert find_speech(wave)[:2] == (0, len(wave))


def test_without_a_share_of_quiet_no_chance_is_drawn() -> None:
    wave, rng = np.zeros(100, np.float32), np.random.default_rng(0)
    assert recrop_speech(wave, QUIET, rng) is wave
    assert rng.random() == np.random.default_rng(0).random()


def test_noise_has_the_ratio_asked_for_and_stays_off_the_padding() -> None:
    import torch

    waves = [np.sin(np.arange(n) / 5).astype(np.float32) for n in (16000, 8000)]
    batch, lengths = collate(waves)
    settings = Augmentation(
        telephone_share=0, noise_share=1, noise_snr_db_min=10, noise_snr_db_max=10
    )
    noise = augment(batch, lengths, settings, rng=np.random.default_rng(0)) - batch
    for row, n in enumerate((16000, 8000)):
        ratio = float(batch[row].square().sum() / noise[row].square().sum())
        assert 10 * np.log10(ratio) == pytest.approx(10, abs=0.01)
        assert torch.count_nonzero(noise[row, n:]) == 0


def test_a_faster_utterance_is_shorter() -> None:
    corpus = Corpus(np.ones(16000, np.int16), np.array([0]), np.array([16000]), ["a"])
    assert len(corpus.wave(0, 1.1)) == pytest.approx(16000 / 1.1, abs=2)
    assert len(corpus.wave(0)) == 16000
