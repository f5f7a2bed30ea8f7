"""Promises of fine-tuning: real NeMo networks, made tiny, on a few synthesised words."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from models.asr import ModelError
from tests.speaking import a_manifest, a_nemo, a_network
from training.asr import AsrTraining, ManifestError, finetune, load_manifest, passes
from training.fit import Fit, _save, fit, learning_rate
from training.speech import Augmentation, Corpus, augment, collate, telephone

SETTINGS = AsrTraining(steps=12, batch_duration_s=6.0, warmup_steps=2, valid_steps=6, checkpoint_steps=4, threads=1)


class ARun:
    """Collects what would go to MLflow."""

    def __init__(self) -> None:
        self.metrics: list[tuple[int, dict[str, float]]] = []

    def log_metrics(self, metrics: dict[str, float], step: int = 0) -> None:
        self.metrics.append((step, metrics))


@pytest.fixture(scope="module")
def model() -> Any:
    return a_network(channels=16, kernels=(5,))


@pytest.fixture(scope="module")
def spoken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("spoken")
    a_manifest(folder / "train.jsonl", 12)
    a_manifest(folder / "valid.jsonl", 4, seed=1)
    return folder


def test_a_killed_run_ends_with_the_very_weights_of_an_unbroken_one(tmp_path: Path, spoken: Path) -> None:
    base = a_nemo(tmp_path / "base.nemo", channels=16, kernels=(5,), dropout=0.1)

    def once(folder: str, kill_at: int = 0) -> dict[str, Any]:
        def progress(done: int, _total: int) -> None:
            if done == kill_at:
                raise KeyboardInterrupt

        return finetune(
            SETTINGS, base, spoken / "train.jsonl", spoken / "valid.jsonl", tmp_path / folder, ARun(), progress  # type: ignore[arg-type]
        )  # fmt: skip

    unbroken = once("unbroken")
    with pytest.raises(KeyboardInterrupt):
        once("killed", kill_at=7)
    resumed = once("killed")
    assert (unbroken["resumed_from"], resumed["resumed_from"]) == (0, 4)
    assert resumed["steps"] == unbroken["steps"] == 12
    import torch

    weights = [torch.load(tmp_path / name / "last.pt", weights_only=True)["model"] for name in ("unbroken", "killed")]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    again = once("killed")  # finished: read, not trained
    assert again == resumed


def test_other_settings_begin_anew(tmp_path: Path, spoken: Path) -> None:
    base = a_nemo(tmp_path / "base.nemo", channels=16, kernels=(5,))
    for seed in (0, 1):
        settings = AsrTraining(steps=2, batch_duration_s=6.0, threads=1, seed=seed)
        found = finetune(settings, base, spoken / "train.jsonl", spoken / "valid.jsonl", tmp_path / "w", ARun())  # type: ignore[arg-type]
        assert (found["resumed_from"], found["steps"]) == (0, 2)


def test_a_write_that_breaks_off_leaves_the_checkpoint_before_it(tmp_path: Path, monkeypatch: Any) -> None:
    import torch

    _save(tmp_path / "last.pt", {"step": 1})
    real = torch.save

    def breaks(value: Any, path: Path) -> None:
        real(value, path)
        path.write_bytes(path.read_bytes()[:100])
        raise OSError("no space left on device")

    monkeypatch.setattr(torch, "save", breaks)
    with pytest.raises(OSError, match="no space"):
        _save(tmp_path / "last.pt", {"step": 2})
    assert torch.load(tmp_path / "last.pt", weights_only=True) == {"step": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["last.pt"]


def test_the_encoder_stands_still_while_it_is_frozen(spoken: Path, tmp_path: Path) -> None:
    network = a_network(channels=16, kernels=(5,))
    corpus, tokens = load_manifest(spoken / "train.jsonl", network, SETTINGS, Counter())
    before = {name: value.clone() for name, value in network.state_dict().items()}
    settings = Fit(3, 1e-2, 1, 0.5, seed=0, freeze_encoder_steps=3)
    fit(network, corpus, tokens, passes(corpus.frames, 6.0, 0), settings, tmp_path)
    after = network.state_dict()
    changed = {name.split(".")[0] for name in before if not (before[name] == after[name]).all()}
    assert changed == {"decoder"}


def test_utterances_that_cannot_be_learnt_from_are_skipped_and_counted(tmp_path: Path, model: Any) -> None:
    manifest = a_manifest(tmp_path / "m.jsonl", 3)
    lines = manifest.read_text().splitlines()
    for name, seconds, text in (
        ("tiny", 0.1, "yes"),
        ("huge", 21.0, "yes"),
        ("dense", 0.3, "yes " * 20),
        ("mute", 1, ""),
    ):
        soundfile.write(tmp_path / f"{name}.wav", np.zeros(int(16000 * seconds)), 16000)
        lines.append(json.dumps({"audio_filepath": f"{name}.wav", "duration": seconds, "text": text}))
    manifest.write_text("\n".join(lines))
    skipped: Counter[str] = Counter()
    corpus, tokens = load_manifest(manifest, model, AsrTraining(), skipped)
    assert len(corpus) == len(tokens) == 3
    assert skipped == {
        "shorter than 0.2 s": 1, "longer than 20.0 s": 1, "more text than fits its audio": 1, "no text": 1
    }  # fmt: skip


def test_telephone_speech_is_heard_at_the_models_rate(tmp_path: Path, model: Any) -> None:
    manifest = a_manifest(tmp_path / "m.jsonl", 2, sample_rate_hz=8000)
    corpus, _ = load_manifest(manifest, model, AsrTraining(), Counter())
    expected_s = [json.loads(line)["duration"] for line in manifest.read_text().splitlines()]
    assert corpus.duration_s == pytest.approx(expected_s, abs=0.001)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{not json", r"m\.jsonl:2: not a manifest line"),
        ('{"text": "yes"}', r"m\.jsonl:2: not a manifest line .*audio_filepath"),
        ('{"audio_filepath": "gone.wav", "text": "yes"}', r"m\.jsonl:2: .*gone\.wav"),
        ('{"audio_filepath": "m-000.wav", "text": "Yes, 5"}', r"m\.jsonl:2: ',5Y' in 'Yes, 5' is not among"),
        ('{"audio_filepath": "text.wav", "text": "yes"}', r"m\.jsonl:2: .*text\.wav: not audio"),
        ('{"audio_filepath": "stereo.wav", "text": "yes"}', r"m\.jsonl:2: .*stereo\.wav has 2 channels"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, model: Any, line: str, message: str) -> None:
    manifest = a_manifest(tmp_path / "m.jsonl", 1)
    (tmp_path / "text.wav").write_text("this is not audio")
    soundfile.write(tmp_path / "stereo.wav", np.zeros((16000, 2)), 16000)
    manifest.write_text(manifest.read_text() + line + "\n")
    with pytest.raises(ManifestError, match=message):
        load_manifest(manifest, model, AsrTraining(), Counter())


def test_an_empty_and_a_missing_manifest_are_refused(tmp_path: Path, model: Any) -> None:
    (tmp_path / "empty.jsonl").write_text("")
    with pytest.raises(ManifestError, match=r"empty\.jsonl: no utterance to use among 0 lines"):
        load_manifest(tmp_path / "empty.jsonl", model, AsrTraining(), Counter())
    with pytest.raises(ManifestError, match=r"gone\.jsonl: cannot be read"):
        load_manifest(tmp_path / "gone.jsonl", model, AsrTraining(), Counter())


def test_a_base_that_is_not_a_nemo_is_refused_before_anything_is_decoded(tmp_path: Path) -> None:
    fake = tmp_path / "fake.nemo"
    fake.write_text("not a model")
    with pytest.raises(ModelError, match=r"fake\.nemo: not a \.nemo"):
        finetune(SETTINGS, fake, tmp_path / "none.jsonl", tmp_path / "none.jsonl", tmp_path / "w", ARun())  # type: ignore[arg-type]


def test_every_pass_holds_every_utterance_once_within_the_budget() -> None:
    frames = np.random.default_rng(0).integers(3200, 160000, 57)
    at = passes(frames, 30.0, seed=3)
    seen: list[int] = []
    step = 0
    while len(seen) < 3 * len(frames):
        batch = at(step)
        assert len(batch) == 1 or frames[batch].max() * len(batch) <= 30.0 * 16000
        seen += batch.tolist()
        step += 1
    for number in range(3):
        assert sorted(seen[number * 57 : (number + 1) * 57]) == list(range(57))
    assert at(1).tolist() == passes(frames, 30.0, seed=3)(1).tolist()
    assert seen[:57] != seen[57:114]


def test_the_rate_rises_stays_and_falls() -> None:
    settings = Fit(100, 1.0, warmup_steps=10, cooldown_share=0.5, seed=0)
    rates = [learning_rate(settings, step) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[9:50] == [1.0] * 41
    assert rates[-1] == pytest.approx(0.02)
    assert rates[50:] == sorted(rates[50:], reverse=True)


def test_a_telephone_keeps_its_band_and_takes_the_rest() -> None:
    import torch

    at = np.arange(16000) / 16000
    tones = {hz: torch.from_numpy(0.3 * np.sin(2 * np.pi * hz * at)).float()[None] for hz in (50, 1000, 5000)}
    kept = {hz: float((telephone(tone, np.random.default_rng(0)) ** 2).mean() / 0.045) for hz, tone in tones.items()}
    assert kept[1000] == pytest.approx(1, abs=0.1)
    assert kept[5000] < 0.01
    assert kept[50] < 0.2
    mixed = tones[1000] * 0.5
    assert not torch.equal(telephone(mixed, np.random.default_rng(0)), mixed)


def test_noise_has_the_ratio_asked_for_and_stays_off_the_padding() -> None:
    import torch

    waves = [np.sin(np.arange(n) / 5).astype(np.float32) for n in (16000, 8000)]
    batch, lengths = collate(waves)
    settings = Augmentation(telephone_share=0, noise_share=1, noise_snr_db_min=10, noise_snr_db_max=10)
    noise = augment(batch, lengths, settings, np.random.default_rng(0)) - batch
    for row, n in enumerate((16000, 8000)):
        ratio = float(batch[row].square().sum() / noise[row].square().sum())
        assert 10 * np.log10(ratio) == pytest.approx(10, abs=0.01)
        assert torch.count_nonzero(noise[row, n:]) == 0


def test_a_faster_utterance_is_shorter() -> None:
    corpus = Corpus(np.ones(16000, np.int16), np.array([0]), np.array([16000]), ["a"])
    assert len(corpus.wave(0, 1.1)) == pytest.approx(16000 / 1.1, abs=2)
    assert len(corpus.wave(0)) == 16000
