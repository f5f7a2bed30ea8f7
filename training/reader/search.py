"""What a search of reader settings varies, and how it trains a trial: on train and valid alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from training.reader.train import LabelledContacts, ReaderTraining, train
from training.run import TrainingRun
from training.search import SearchTask, Space

SPACE: Space = {
    "learning_rate": (2e-3, 3e-2),
    "width": [24, 48, 96],
    "dropout": [0.1, 0.2, 0.3, 0.4, 0.5],
    "epochs": [6, 9, 14],
    "batch_size": [128, 256, 512],
    "misheard_share": [0.2, 0.4, 0.6],
    "misheard_letters": [0.1, 0.2, 0.3],
}


def task(
    base: ReaderTraining,
    labels: Mapping[str, tuple[str, ...]],
    examples: Mapping[str, LabelledContacts],
) -> SearchTask:
    """Returns the search around `base`; the loss is the cross-entropy on valid."""
    parts = {side: examples[side] for side in ("train", "valid")}

    def objective(params: ReaderTraining, work_dir: Path, run: TrainingRun) -> float:
        return float(train(params, labels, parts, work_dir=work_dir, run=run)["valid_loss"])

    judged_on = f"{len(parts['valid'])} validation contacts"
    return SearchTask(base, SPACE, objective, "valid loss", judged_on)
