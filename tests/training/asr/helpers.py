"""Fine-tunes a tiny network for tests of training/asr, and compares the weights it leaves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from training.asr.finetune import AsrTraining, finetune
from training.run import MetricsLog

SETTINGS = AsrTraining(
    steps=12, batch_duration_s=6.0, warmup_steps=2, valid_steps=6, checkpoint_steps=4, threads=1
)


class RecordedMetrics:
    """A run that keeps the metrics."""

    run_id = "none"

    def __init__(self) -> None:
        self.metrics: list[tuple[int, dict[str, float]]] = []

    def log_metrics(self, metrics: dict[str, float], step: int = 0) -> None:
        self.metrics.append((step, metrics))


def run_finetuning(
    spoken: Path,
    work_dir: Path,
    params: AsrTraining = SETTINGS,
    run: MetricsLog | None = None,
    **more: Any,
) -> dict[str, Any]:
    """Fine-tunes the tiny network in `spoken`, or another `base`."""
    base = more.pop("base", spoken / "base.nemo")
    return finetune(
        params,
        base,
        train_manifest=spoken / "train.jsonl",
        valid_manifest=spoken / "valid.jsonl",
        work_dir=work_dir,
        run=run or RecordedMetrics(),
        **more,
    )


def last_weights(work_dir: Path) -> dict[str, Any]:
    """The weights of the last checkpoint."""
    import torch

    weights: dict[str, Any] = torch.load(work_dir / "last.pt", weights_only=True)["model"]
    return weights


def same_weights(first: Path, second: Path) -> bool:
    """Whether two trainings ended at the same weights, bit for bit."""
    import torch

    a, b = last_weights(first), last_weights(second)
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)
