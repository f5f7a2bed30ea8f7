"""The training loop: checkpoints, the learning rate, and errors that cost no weights."""

from __future__ import annotations

import os
import resource
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from tests.training.asr.helpers import (
    SETTINGS,
)
from training.asr.finetune import prepare_training, training_batches
from training.asr.fit import (
    LoopConfig,
    TrainingError,
    fit,
    learning_rate,
    save_checkpoint,
    saved_weights,
)


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
    summary = fit(
        model,
        speech.corpus,
        speech.tokens,
        batch_at=at,
        config=replace(settings, steps=3),
        folder=tmp_path,
        measure=lambda model: 0.5,
    )
    assert (summary["resumed_from"], summary["step"], summary["best"]) == (2, 3, 0.5)


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
    summary = saved_weights(tmp_path)
    assert set(summary) == names
    assert summary["averaged"]["weight"].sum() == 0
    assert summary["averaged"]["count"] == 2


def test_the_rate_rises_stays_and_falls() -> None:
    settings = LoopConfig(100, 1.0, warmup_steps=10, cooldown_share=0.5, seed=0)
    rates = [learning_rate(settings, step) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[9:50] == [1.0] * 41
    assert rates[-1] == pytest.approx(0.02)
    assert rates[50:] == sorted(rates[50:], reverse=True)
