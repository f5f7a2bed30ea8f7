"""What a search of churn settings varies, and how it trains a trial: on train and valid alone."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from training.churn.settings import ChurnTraining
from training.churn.train import train
from training.run import TrainingRun
from training.search import SearchTask, Space

SPACE: Space = {
    "ridge": (0.1, 30.0),
    "mark_cost": (0.01, 5.0),
    "leavers_per_feature": [5, 10, 20, 40],
    "learning_rate": (2e-4, 5e-3),
    "weight_decay": (1e-3, 1.0),
    "dropout": [0.0, 0.1, 0.2, 0.3, 0.4],
    "hidden": [32, 64, 128],
    "members": [4, 8, 16],
    "bins": [4, 8, 16],
}


def task(base: ChurnTraining, features: pl.DataFrame, *, lead_days: int = 0) -> SearchTask:
    """Returns the search around `base`. Rows of the test split are dropped before anything else.

    The loss is the mean negative log-likelihood on valid. `lead_days` is `features.lead_days`.
    """
    rows = features.filter(pl.col("split") != "test")
    leavers = rows.filter(pl.col("event") & (pl.col("split") == "valid"))["customer_id"]

    def objective(params: ChurnTraining, work_dir: Path, run: TrainingRun) -> float:
        return float(train(params, rows, work_dir, run=run, lead_days=lead_days)["kept_valid_loss"])

    judged_on = f"{leavers.n_unique()} validation customers who left"
    return SearchTask(base, SPACE, objective, "valid loss", judged_on)
