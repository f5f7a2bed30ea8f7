"""What a search of recogniser settings varies, and how it trains a trial: without test data."""

from __future__ import annotations

from pathlib import Path

from data.speech.manifests import read_manifest
from training.asr.finetune import AsrTraining, finetune
from training.run import TrainingRun
from training.search import SearchTask, Space

SPACE: Space = {
    "learning_rate": (2e-4, 5e-3),
    "weight_decay": (1e-5, 1e-1),
    "warmup_steps": [20, 50, 100],
    "cooldown_share": [0.3, 0.6, 0.9],
    "augmentation.speed_spread": [0.0, 0.06, 0.12],
    "augmentation.noise_share": [0.0, 0.15, 0.3],
    "augmentation.telephone_share": [0.0, 0.2],
}


def task(
    base: AsrTraining, start: Path, *, train_manifest: Path, valid_manifest: Path
) -> SearchTask:
    """Returns the search around `base`, each trial a fine-tuning of `start`; the loss is WER.

    A trial takes as long as a training: `base.steps` and `base.patience` say how long.
    """

    def objective(params: AsrTraining, work_dir: Path, run: TrainingRun) -> float:
        summary = finetune(
            params,
            start,
            train_manifest=train_manifest,
            valid_manifest=valid_manifest,
            work_dir=work_dir,
            run=run,
        )
        return float(summary["wer"])

    judged_on = f"{len(read_manifest(valid_manifest))} validation utterances"
    return SearchTask(base, SPACE, objective, "validation WER", judged_on)
