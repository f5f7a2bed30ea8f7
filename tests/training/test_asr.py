"""Promises of fine-tuning: real NeMo networks, made tiny, on a few synthesised words."""

from __future__ import annotations

import json
import os
import resource
import signal
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from models.asr.load import load
from models.asr.nemo import ModelError, restore
from models.asr.recognizer import Recognizer
from models.asr.transcript import Transcript
from tests.speech_helpers import (
    WORDS,
    a_hybrid_nemo,
    a_manifest,
    a_nemo,
    a_network,
    a_word_piece_nemo,
)
from training.asr.devices import DeviceError, launch_workers, resolve_device
from training.asr.finetune import (
    AsrTraining,
    ExtraSpeech,
    finetune,
    prepare_training,
    training_batches,
    wer,
)
from training.asr.fit import (
    LoopConfig,
    TrainingError,
    fit,
    learning_rate,
    save_checkpoint,
    saved_weights,
)
from training.asr.layers import encoder_layers, parameter_groups
from training.asr.manifest import ManifestError
from training.asr.speech import (
    Augmentation,
    Corpus,
    augment,
    collate,
    find_speech,
    recrop_speech,
    simulate_telephone,
)
from training.asr.vocabulary import VocabularyError, replace_vocabulary, text_encoder

SETTINGS = AsrTraining(
    steps=12, batch_duration_s=6.0, warmup_steps=2, valid_steps=6, checkpoint_steps=4, threads=1
)
QUIET = Augmentation(
    telephone_share=0, noise_share=0, speed_spread=0, quiet_share=0, frequency_masks=0, time_masks=0
)


class ARun:
    """Collects what would go to MLflow."""

    def __init__(self) -> None:
        self.metrics: list[tuple[int, dict[str, float]]] = []

    def log_metrics(self, metrics: dict[str, float], step: int = 0) -> None:
        self.metrics.append((step, metrics))


@pytest.fixture(scope="module")
def spoken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("spoken")
    a_manifest(folder / "train.jsonl", 12)
    a_manifest(folder / "valid.jsonl", 4, seed=1)
    a_nemo(folder / "base.nemo", channels=16, kernels=(5, 7), dropout=0.1)
    return folder


def tuned(
    spoken: Path, work_dir: Path, params: AsrTraining = SETTINGS, run: Any = None, **more: Any
) -> dict[str, Any]:
    base = more.pop("base", spoken / "base.nemo")
    return finetune(
        params,
        base,
        train_manifest=spoken / "train.jsonl",
        valid_manifest=spoken / "valid.jsonl",
        work_dir=work_dir,
        run=run or ARun(),
        **more,
    )


def weights(work_dir: Path) -> dict[str, Any]:
    import torch

    return torch.load(work_dir / "last.pt", weights_only=True)["model"]


def same(one: Path, other: Path) -> bool:
    import torch

    a, b = weights(one), weights(other)
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_a_stopped_run_ends_with_the_very_weights_of_an_unbroken_one(
    tmp_path: Path, spoken: Path
) -> None:
    def stop(done: int, _total: int) -> None:
        if done == 7:
            raise KeyboardInterrupt

    unbroken = tuned(spoken, tmp_path / "unbroken")
    with pytest.raises(KeyboardInterrupt):
        tuned(spoken, tmp_path / "killed", progress=stop)
    resumed = tuned(spoken, tmp_path / "killed")
    assert (unbroken["resumed_from"], resumed["resumed_from"]) == (0, 4)
    assert resumed["steps"] == unbroken["steps"] == 12
    assert resumed["averaged_steps"] == unbroken["averaged_steps"] == 3
    assert same(tmp_path / "unbroken", tmp_path / "killed")
    assert tuned(spoken, tmp_path / "killed") == resumed  # finished: read, not trained


def test_other_settings_begin_anew(tmp_path: Path, spoken: Path) -> None:
    for seed in (0, 1):
        found = tuned(spoken, tmp_path / "w", replace(SETTINGS, steps=2, seed=seed))
        assert (found["resumed_from"], found["steps"]) == (0, 2)


def test_speech_beyond_memory_teaches_the_same(tmp_path: Path, spoken: Path) -> None:
    settings = replace(SETTINGS, steps=4)
    tuned(spoken, tmp_path / "near", settings)
    tuned(spoken, tmp_path / "far", replace(settings, in_memory_hours=0.0))
    assert same(tmp_path / "near", tmp_path / "far")


def test_audio_that_breaks_while_training_is_left_out_and_accounted_for(tmp_path: Path) -> None:
    a_manifest(tmp_path / "train.jsonl", 12)
    a_manifest(tmp_path / "valid.jsonl", 3, seed=1)
    a_nemo(tmp_path / "base.nemo", channels=16, kernels=(5,))
    whole = (tmp_path / "train-003.wav").read_bytes()
    (tmp_path / "train-003.wav").write_bytes(whole[: len(whole) // 2])
    found = tuned(
        tmp_path, tmp_path / "w", replace(SETTINGS, in_memory_hours=0.0, defect_share=0.1)
    )
    assert found["train"]["utterances"] == 11
    assert found["train"]["skipped"]["unreadable audio"]["utterances"] == 1
    (line,) = (tmp_path / "w" / "quarantine.jsonl").read_text().splitlines()
    assert json.loads(line)["thing"].endswith("train.jsonl:4")
    assert "truncated" in json.loads(line)["reason"]


def test_extra_speech_is_mixed_in_and_has_its_own_account(tmp_path: Path, spoken: Path) -> None:
    a_manifest(tmp_path / "more.jsonl", 5, seed=3)
    settings = replace(SETTINGS, steps=2, extra=(ExtraSpeech(str(tmp_path / "more.jsonl"), 0.4),))
    found = tuned(spoken, tmp_path / "w", settings)
    assert (found["train"]["utterances"], [extra["utterances"] for extra in found["extra"]]) == (
        12,
        [5],
    )
    _, speech, _, pools = prepare_training(
        settings, spoken / "base.nemo", spoken / "train.jsonl", work_dir=tmp_path
    )
    at = training_batches(settings, speech, pools)
    heard = Counter(i >= 12 for step in range(40) for i in at(step).tolist())
    assert 0.25 < heard[True] / heard.total() < 0.55
    for share in (1.0, -0.5):
        with pytest.raises(ManifestError, match=r"shares in asr\.extra add up to"):
            tuned(
                spoken, tmp_path / "w", replace(SETTINGS, extra=(ExtraSpeech("more.jsonl", share),))
            )


@pytest.mark.parametrize(
    ("base", "learnt"), [("base.nemo", {"characters", "bpe"}), ("hybrid.nemo", {"bpe"})]
)
def test_labels_can_be_replaced(tmp_path: Path, spoken: Path, base: str, learnt: set[str]) -> None:
    if not (spoken / "hybrid.nemo").exists():
        a_hybrid_nemo(spoken / "hybrid.nemo")
    before = restore(spoken / base).encoder.state_dict()
    for kind in sorted(learnt):
        made = replace_vocabulary(
            restore(spoken / base),
            kind,
            size=30,
            texts=[" ".join(WORDS)] * 20,
            folder=tmp_path / kind,
        )
        assert all(
            (value == before[name]).all() for name, value in made.encoder.state_dict().items()
        )
        again = replace_vocabulary(
            made, "bpe", size=28, texts=[" ".join(WORDS)] * 20, folder=tmp_path / f"{kind}-again"
        )
        assert len(text_encoder(again)("cancel my card")[0]) < len("cancel my card")
        back = replace_vocabulary(again, "characters", size=0, texts=[], folder=tmp_path)
        assert len(text_encoder(back)("cancel")[0]) == 6
    found = tuned(
        spoken,
        tmp_path / "w",
        replace(SETTINGS, steps=2, vocabulary="bpe", vocabulary_size=30),
        base=spoken / base,
    )
    assert found["loss_last"] > 0
    assert len(load(tmp_path / "w" / "model.nemo").labels) == 30


def test_text_outside_the_word_pieces_is_left_out_by_name(tmp_path: Path, spoken: Path) -> None:
    base = a_word_piece_nemo(tmp_path / "pieces.nemo")
    manifest = spoken / "odd.jsonl"
    rows = [json.loads(line) for line in (spoken / "train.jsonl").read_text().splitlines()]
    rows[3]["text"] = "Yes, 5 quid"
    manifest.write_text("\n".join(json.dumps(row) for row in rows))
    _, speech, (account,), _ = prepare_training(
        replace(SETTINGS, defect_share=0.1), base, manifest, work_dir=tmp_path
    )
    assert len(speech.tokens) == 11
    (defect,) = account.defects
    assert defect["thing"].endswith("odd.jsonl:4")
    assert defect["reason"] == "',5Yq' in 'Yes, 5 quid' is not among the model's labels"
    with pytest.raises(
        ManifestError, match=r"odd\.jsonl:4: ',5Yq' .* Normalise the text .* allows 5%"
    ):
        prepare_training(SETTINGS, base, manifest, work_dir=tmp_path)


def test_labels_that_cannot_be_had_are_refused(tmp_path: Path, spoken: Path) -> None:
    model = restore(spoken / "base.nemo")
    with pytest.raises(VocabularyError, match=r"It can be keep, characters, bpe"):
        replace_vocabulary(model, "words", size=0, texts=[], folder=tmp_path)
    with pytest.raises(
        VocabularyError, match=r"2 word pieces cannot be learnt from 3 different words .*Raise"
    ):
        replace_vocabulary(model, "bpe", size=2, texts=["yes no cancel"], folder=tmp_path)


def test_a_hybrids_two_losses_are_weighed(tmp_path: Path, spoken: Path) -> None:
    if not (spoken / "hybrid.nemo").exists():
        a_hybrid_nemo(spoken / "hybrid.nemo")
    before = restore(spoken / "hybrid.nemo").state_dict()
    for weight, moved in (
        (0.0, {"encoder", "ctc_decoder"}),
        (1.0, {"encoder", "decoder", "joint"}),
    ):
        tuned(
            spoken,
            tmp_path / str(weight),
            replace(SETTINGS, steps=1, rnnt_weight=weight, weight_decay=0.0),
            base=spoken / "hybrid.nemo",
        )
        after = weights(tmp_path / str(weight))
        changed = {name.split(".")[0] for name in before if not (before[name] == after[name]).all()}
        assert changed == moved


def test_lower_layers_learn_slower_and_frozen_ones_not_at_all(tmp_path: Path, spoken: Path) -> None:
    network = a_network(channels=16, kernels=(5,))
    groups = parameter_groups(network, 0.5)
    depth = len(encoder_layers(network))
    assert [group["scale"] for group in groups] == [0.5**below for below in range(depth + 1)]
    assert sum(len(group["params"]) for group in groups) == len(list(network.parameters()))
    lowest = {id(weight) for weight in network.encoder.encoder[0].parameters()}
    assert {id(weight) for weight in groups[-1]["params"]} == lowest

    for number, changes in enumerate(({"layer_decay": 0.3}, {"frozen_layers": depth - 1})):
        tuned(
            spoken, tmp_path / str(number), replace(SETTINGS, steps=1, weight_decay=0.0, **changes)
        )
    before, decayed, frozen = (
        restore(spoken / "base.nemo").state_dict(),
        weights(tmp_path / "0"),
        weights(tmp_path / "1"),
    )

    def step(after: dict[str, Any], layer: str) -> float:
        return max(
            float((before[name] - after[name]).abs().max())
            for name in before
            if name.startswith(layer)
        )

    trained = "encoder.encoder.0.mconv.0.conv.weight"
    assert 0 < step(decayed, trained) < 1e-2 * step(decayed, "decoder")
    assert step(frozen, "encoder.encoder.0.") == 0  # running statistics too
    assert step(frozen, "decoder") > 0


def test_an_encoder_stands_still_at_first_and_an_average_may_forget_the_older_weights(
    tmp_path: Path, spoken: Path
) -> None:
    import torch

    decoder = "decoder.decoder_layers.0.weight"
    settings = replace(
        SETTINGS,
        steps=2,
        freeze_encoder_steps=2,
        average_share=1.0,
        average_decay=0.25,
        buckets=2,
        weight_decay=0.0,
        checkpoint_steps=1,
    )
    seen: list[Any] = []
    tuned(
        spoken,
        tmp_path / "two",
        settings,
        progress=lambda *_: seen.append(weights(tmp_path / "two")[decoder]),
    )
    average = torch.load(tmp_path / "two" / "last.pt", weights_only=True)["average"][decoder]
    assert torch.allclose(average, 0.25 * seen[0] + 0.75 * seen[1], atol=1e-7)
    tuned(spoken, tmp_path / "three", replace(settings, steps=3))
    before = restore(spoken / "base.nemo").state_dict()
    for name, moved in (("two", {"decoder"}), ("three", {"decoder", "encoder"})):
        after = weights(tmp_path / name)
        assert {
            key.split(".")[0] for key in before if not torch.equal(before[key], after[key])
        } == moved
    tuned(spoken, tmp_path / "sorted", replace(settings, buckets=0))
    assert not same(tmp_path / "two", tmp_path / "sorted")  # the utterances met in other batches


def test_it_stops_when_validation_no_longer_improves(tmp_path: Path, spoken: Path) -> None:
    run = ARun()
    settings = replace(SETTINGS, learning_rate=1e-9, valid_steps=2, patience=2)
    found = tuned(spoken, tmp_path / "w", settings, run)
    assert (found["steps"], found["stopped_early"]) == (4, True)
    assert {step for step, metrics in run.metrics if "train_loss" in metrics} == {4}
    assert found["averaged_steps"] == 0  # it ended before the steps whose weights are averaged
    assert "wer_averaged" not in found
    (tmp_path / "w" / "result.json").unlink()
    assert tuned(spoken, tmp_path / "w", settings)["steps"] == 4  # and stays stopped


def test_a_loss_that_is_no_number_stops_before_the_weights_are_lost(
    tmp_path: Path, spoken: Path
) -> None:
    with pytest.raises(
        TrainingError, match=r"step \d+: the loss is nan.*Lower asr.learning_rate \(now 1e\+30\)"
    ):
        tuned(
            spoken,
            tmp_path / "w",
            replace(SETTINGS, learning_rate=1e30, warmup_steps=0, checkpoint_steps=1),
        )
    assert all(value.isfinite().all() for value in weights(tmp_path / "w").values())


def test_a_full_disk_is_told_and_costs_nothing(tmp_path: Path) -> None:
    """A limit on the size of files stands for the disk: the system itself refuses the write."""
    import torch

    save_checkpoint(tmp_path / "last.pt", {"step": 1})
    before, handler = (
        resource.getrlimit(resource.RLIMIT_FSIZE),
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN),
    )
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, before[1]))
    try:
        with pytest.raises(
            TrainingError,
            match=r"last\.pt: cannot be written .* MB free\)\. Make room and start again",
        ):
            save_checkpoint(tmp_path / "last.pt", {"step": 2, "model": torch.zeros(100_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert torch.load(tmp_path / "last.pt", weights_only=True) == {"step": 1}
    assert os.listdir(tmp_path) == ["last.pt"]


def test_a_checkpoint_from_before_these_settings_still_resumes(
    tmp_path: Path, spoken: Path
) -> None:
    """training.base may have been begun with an older checkpoint, which had only these keys."""
    import torch

    model, speech, _, pools = prepare_training(
        SETTINGS, spoken / "base.nemo", spoken / "train.jsonl", work_dir=tmp_path
    )
    at = training_batches(SETTINGS, speech, pools)
    settings = LoopConfig(2, 1e-3, 1, 0.5, seed=0)
    fit(
        model,
        speech.corpus,
        speech.tokens,
        batch_at=at,
        config=settings,
        folder=tmp_path,
        measure=lambda model: 1.0,
    )
    saved = torch.load(tmp_path / "last.pt", weights_only=True)
    old = (
        "step",
        "best_step",
        "before",
        "best",
        "last",
        "loss_first",
        "loss_last",
        "model",
        "optimizer",
    )
    for group in saved["optimizer"]["param_groups"]:
        group.pop("scale")
    torch.save({name: saved[name] for name in old}, tmp_path / "last.pt")
    found = fit(
        model,
        speech.corpus,
        speech.tokens,
        batch_at=at,
        config=replace(settings, steps=3),
        folder=tmp_path,
        measure=lambda model: 0.5,
    )
    assert (found["resumed_from"], found["step"], found["best"]) == (2, 3, 0.5)


def test_a_base_that_is_not_a_nemo_is_refused_before_anything_is_decoded(tmp_path: Path) -> None:
    fake = tmp_path / "fake.nemo"
    fake.write_text("not a model")
    with pytest.raises(ModelError, match=r"fake\.nemo: not a \.nemo"):
        tuned(tmp_path, tmp_path / "w", base=fake)


@pytest.mark.parametrize(
    ("best_step", "names"), [(2, {"best", "averaged"}), (1, {"best", "last", "averaged"})]
)
def test_the_same_weights_are_not_scored_twice(
    tmp_path: Path, best_step: int, names: set[str]
) -> None:
    import torch

    own, mean = {"weight": torch.ones(2), "count": torch.tensor(2)}, {"weight": torch.zeros(2)}
    save_checkpoint(tmp_path / "best.pt", {"model": own, "step": best_step, "wer": 0.5})
    save_checkpoint(tmp_path / "last.pt", {"model": own, "step": 2, "average": mean, "averaged": 2})
    found = saved_weights(tmp_path)
    assert set(found) == names
    assert found["averaged"]["weight"].sum() == 0
    assert found["averaged"]["count"] == 2


def test_a_process_that_fails_in_the_end_is_told(tmp_path: Path) -> None:
    (tmp_path / "job.json").write_text(json.dumps({"params": {"devices": 3}}))
    told = pytest.raises(
        DeviceError, match=r"process 1 of 2 stopped: asr\.devices is 3, but 2 processes run"
    )
    with told, launch_workers(2, "cpu", tmp_path / "job.json"):
        pass  # the first has nothing to do, and so does not notice


def test_a_device_that_is_not_there_is_refused() -> None:
    with pytest.raises(DeviceError, match=r"is .tpu.. It can be cpu, cuda or auto"):
        resolve_device("tpu")
    import torch

    if not torch.cuda.is_available():
        with pytest.raises(DeviceError, match="torch sees no CUDA device"):
            resolve_device("cuda")
        assert resolve_device("auto") == "cpu"


def test_capitals_and_stops_are_no_errors() -> None:
    class Heard:
        def transcribe(self, waves: list[np.ndarray]) -> list[Transcript]:
            return [Transcript(text, [], 1.0) for text in ("Yes, Cancel.", "It's $5.")]

    said = ["yes cancel", "It's five dollars"]
    corpus = Corpus(np.zeros(2, np.int16), np.array([0, 1]), np.array([1, 1]), said)
    assert wer(cast(Recognizer, Heard()), corpus) == 0


def test_the_rate_rises_stays_and_falls() -> None:
    settings = LoopConfig(100, 1.0, warmup_steps=10, cooldown_share=0.5, seed=0)
    rates = [learning_rate(settings, step) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[9:50] == [1.0] * 41
    assert rates[-1] == pytest.approx(0.02)
    assert rates[50:] == sorted(rates[50:], reverse=True)


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
        found = recrop_speech(wave, replace(QUIET, quiet_share=1.0, quiet_s=0.5), rng)
        at = next(
            i
            for i in range(len(found))
            if np.array_equal(found[i : i + 100], wave[begin : begin + 100])
        )
        assert np.array_equal(found[at : at + end - begin], wave[begin:end])
        assert max(at, len(found) - at - (end - begin)) <= 8000
        if at > 3000:
            assert found[: at - 1000].std() == pytest.approx(0.01, rel=0.3)
        lengths.append(len(found))
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
