"""A table of customers, quick settings and a run that records, for tests of churn training."""

from __future__ import annotations

from datetime import date
from typing import Any

import numpy as np
import polars as pl

from training.churn.settings import ChurnTraining

QUICK = ChurnTraining(
    epochs=8,
    patience=8,
    hidden=16,
    members=4,
    learning_rate=3e-3,
    min_customers=40,
    leavers_per_feature=1,  # churn_table has friction as a window alone
)


class RecordedRun:
    """A run that keeps what is logged."""

    run_id = "run-1"

    def __init__(self) -> None:
        self.params: dict[str, Any] = {}
        self.metrics: list[tuple[int, dict[str, float]]] = []

    def log_params(self, params: dict[str, Any]) -> None:
        self.params |= params

    def log_metrics(self, metrics: dict[str, float], step: int) -> None:
        self.metrics.append((step, metrics))


def churn_table(
    rows: int = 600, seed: int = 0, *, dated: bool = True, effect: float = 1.0
) -> pl.DataFrame:
    """Customers whose hazard a day follows friction and plan; observed for 40 to 500 days."""
    rng = np.random.default_rng(seed)
    friction, price = rng.poisson(0.8, rows).astype(float), rng.uniform(10, 60, rows)
    plan = rng.choice(["flex", "plus"], rows)
    hazard = 0.0012 * np.exp(effect * (0.8 * friction + 0.9 * (plan == "flex") - 0.7))
    leaves, observed_days = rng.exponential(1 / hazard), rng.uniform(40, 500, rows)
    event = leaves < (observed_days if dated else 180)
    return pl.DataFrame(
        {
            "customer_id": [f"C{n}" for n in range(rows)],
            "as_of": [date(2026, 1, 1)] * rows,
            "split": rng.choice(["train", "valid", "test"], rows, p=[0.6, 0.2, 0.2]),
            "event": event,
            "time_days": np.ceil(np.where(event, leaves, observed_days)) if dated else None,
            "friction_30d": friction,
            "monthly_price": price,
            "plan": plan,
        },
        schema_overrides={"time_days": pl.Float64},
    )
