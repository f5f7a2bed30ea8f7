"""Fine-tuning on real NeMo networks, made tiny, with a few synthesised words."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from models.asr.nemo import ModelError, restore
from models.asr.recognizer import Recognizer
from models.asr.transcript import Transcript
from tests.speech_helpers import (
    a_hybrid_nemo,
    a_manifest,
    a_nemo,
    a_network,
    a_word_piece_nemo,
)
from tests.training.asr.helpers import (
    SETTINGS,
    RecordedMetrics,
    last_weights,
    run_finetuning,
    same_weights,
)
from training.asr.finetune import ExtraSpeech, prepare_training, training_batches, wer
from training.asr.fit import (
    TrainingError,
)
from training.asr.layers import encoder_layers, parameter_groups
from training.asr.manifest import ManifestError
from training.asr.speech import (
    Corpus,
)


def test_a_stopped_run_ends_with_the_very_weights_of_an_unbroken_one(
    tmp_path: Path, spoken: Path
) -> None:
    def stop(done: int, _total: int) -> None:
        if done == 7:
            raise KeyboardInterrupt

    unbroken = run_finetuning(spoken, tmp_path / "unbroken")
    with pytest.raises(KeyboardInterrupt):
        run_finetuning(spoken, tmp_path / "killed", progress=stop)
    resumed = run_finetuning(spoken, tmp_path / "killed")
    assert (unbroken["resumed_from"], resumed["resumed_from"]) == (0, 4)
    assert resumed["steps"] == unbroken["steps"] == 12
    assert resumed["averaged_steps"] == unbroken["averaged_steps"] == 3
    assert same_weights(tmp_path / "unbroken", tmp_path / "killed")
    assert run_finetuning(spoken, tmp_path / "killed") == resumed  # finished: read, not trained


def test_other_settings_begin_anew(tmp_path: Path, spoken: Path) -> None:
    for seed in (0, 1):
        summary = run_finetuning(spoken, tmp_path / "w", replace(SETTINGS, steps=2, seed=seed))
        assert (summary["resumed_from"], summary["steps"]) == (0, 2)


def test_speech_beyond_memory_teaches_the_same(tmp_path: Path, spoken: Path) -> None:
    settings = replace(SETTINGS, steps=4)
    run_finetuning(spoken, tmp_path / "near", settings)
    run_finetuning(spoken, tmp_path / "far", replace(settings, in_memory_hours=0.0))
    assert same_weights(tmp_path / "near", tmp_path / "far")


def test_audio_that_breaks_while_training_is_left_out_and_reported_for(tmp_path: Path) -> None:
    a_manifest(tmp_path / "train.jsonl", 12)
    a_manifest(tmp_path / "valid.jsonl", 3, seed=1)
    a_nemo(tmp_path / "base.nemo", channels=16, kernels=(5,))
    whole = (tmp_path / "train-003.wav").read_bytes()
    (tmp_path / "train-003.wav").write_bytes(whole[: len(whole) // 2])
    summary = run_finetuning(
        tmp_path, tmp_path / "w", replace(SETTINGS, in_memory_hours=0.0, defect_share=0.1)
    )
    assert summary["train"]["utterances"] == 11
    assert summary["train"]["skipped"]["unreadable audio"]["utterances"] == 1
    (line,) = (tmp_path / "w" / "quarantine.jsonl").read_text().splitlines()
    assert json.loads(line)["thing"].endswith("train.jsonl:4")
    assert "truncated" in json.loads(line)["reason"]


def test_extra_speech_is_mixed_in_and_has_its_own_report(tmp_path: Path, spoken: Path) -> None:
    a_manifest(tmp_path / "more.jsonl", 5, seed=3)
    settings = replace(SETTINGS, steps=2, extra=(ExtraSpeech(str(tmp_path / "more.jsonl"), 0.4),))
    summary = run_finetuning(spoken, tmp_path / "w", settings)
    assert (
        summary["train"]["utterances"],
        [extra["utterances"] for extra in summary["extra"]],
    ) == (
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
            run_finetuning(
                spoken, tmp_path / "w", replace(SETTINGS, extra=(ExtraSpeech("more.jsonl", share),))
            )


def test_text_outside_the_word_pieces_is_left_out_by_name(tmp_path: Path, spoken: Path) -> None:
    base = a_word_piece_nemo(tmp_path / "pieces.nemo")
    manifest = spoken / "odd.jsonl"
    rows = [json.loads(line) for line in (spoken / "train.jsonl").read_text().splitlines()]
    rows[3]["text"] = "Yes, 5 quid"
    manifest.write_text("\n".join(json.dumps(row) for row in rows))
    _, speech, (report,), _ = prepare_training(
        replace(SETTINGS, defect_share=0.1), base, manifest, work_dir=tmp_path
    )
    assert len(speech.tokens) == 11
    (defect,) = report.defects
    assert defect["thing"].endswith("odd.jsonl:4")
    assert defect["reason"] == "',5Yq' in 'Yes, 5 quid' is not among the model's labels"
    with pytest.raises(
        ManifestError, match=r"odd\.jsonl:4: ',5Yq' .* Normalise the text .* allows 5%"
    ):
        prepare_training(SETTINGS, base, manifest, work_dir=tmp_path)


def test_a_hybrids_two_losses_are_weighed(tmp_path: Path, spoken: Path) -> None:
    if not (spoken / "hybrid.nemo").exists():
        a_hybrid_nemo(spoken / "hybrid.nemo")
    before = restore(spoken / "hybrid.nemo").state_dict()
    for weight, moved in (
        (0.0, {"encoder", "ctc_decoder"}),
        (1.0, {"encoder", "decoder", "joint"}),
    ):
        run_finetuning(
            spoken,
            tmp_path / str(weight),
            replace(SETTINGS, steps=1, rnnt_weight=weight, weight_decay=0.0),
            base=spoken / "hybrid.nemo",
        )
        after = last_weights(tmp_path / str(weight))
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

    one_step = replace(SETTINGS, steps=1, weight_decay=0.0)
    for number, settings in enumerate(
        (replace(one_step, layer_decay=0.3), replace(one_step, frozen_layers=depth - 1))
    ):
        run_finetuning(spoken, tmp_path / str(number), settings)
    before, decayed, frozen = (
        restore(spoken / "base.nemo").state_dict(),
        last_weights(tmp_path / "0"),
        last_weights(tmp_path / "1"),
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
    run_finetuning(
        spoken,
        tmp_path / "two",
        settings,
        progress=lambda *_: seen.append(last_weights(tmp_path / "two")[decoder]),
    )
    average = torch.load(tmp_path / "two" / "last.pt", weights_only=True)["average"][decoder]
    assert torch.allclose(average, 0.25 * seen[0] + 0.75 * seen[1], atol=1e-7)
    run_finetuning(spoken, tmp_path / "three", replace(settings, steps=3))
    before = restore(spoken / "base.nemo").state_dict()
    for name, moved in (("two", {"decoder"}), ("three", {"decoder", "encoder"})):
        after = last_weights(tmp_path / name)
        assert {
            key.split(".")[0] for key in before if not torch.equal(before[key], after[key])
        } == moved
    run_finetuning(spoken, tmp_path / "sorted", replace(settings, buckets=0))
    assert not same_weights(
        tmp_path / "two", tmp_path / "sorted"
    )  # the utterances met in other batches


def test_it_stops_when_validation_no_longer_improves(tmp_path: Path, spoken: Path) -> None:
    run = RecordedMetrics()
    settings = replace(SETTINGS, learning_rate=1e-9, valid_steps=2, patience=2)
    summary = run_finetuning(spoken, tmp_path / "w", settings, run)
    assert (summary["steps"], summary["stopped_early"]) == (4, True)
    assert {step for step, metrics in run.metrics if "train_loss" in metrics} == {4}
    assert summary["averaged_steps"] == 0  # it ended before the steps whose weights are averaged
    assert "wer_averaged" not in summary
    (tmp_path / "w" / "result.json").unlink()
    assert run_finetuning(spoken, tmp_path / "w", settings)["steps"] == 4  # and stays stopped


def test_a_loss_that_is_no_number_stops_before_the_weights_are_lost(
    tmp_path: Path, spoken: Path
) -> None:
    with pytest.raises(
        TrainingError, match=r"step \d+: the loss is nan.*Lower asr.learning_rate \(now 1e\+30\)"
    ):
        run_finetuning(
            spoken,
            tmp_path / "w",
            replace(SETTINGS, learning_rate=1e30, warmup_steps=0, checkpoint_steps=1),
        )
    assert all(value.isfinite().all() for value in last_weights(tmp_path / "w").values())


def test_a_base_that_is_not_a_nemo_is_refused_before_anything_is_decoded(tmp_path: Path) -> None:
    fake = tmp_path / "fake.nemo"
    fake.write_text("not a model")
    with pytest.raises(ModelError, match=r"fake\.nemo: not a \.nemo"):
        run_finetuning(tmp_path, tmp_path / "w", base=fake)


def test_capitals_and_stops_are_no_errors() -> None:
    class Heard:
        def transcribe(self, waves: list[np.ndarray]) -> list[Transcript]:
            return [Transcript(text, [], 1.0) for text in ("Yes, Cancel.", "It's $5.")]

    said = ["yes cancel", "It's five dollars"]
    corpus = Corpus(np.zeros(2, np.int16), np.array([0, 1]), np.array([1, 1]), said)
    assert wer(cast(Recognizer, Heard()), corpus) == 0
