"""Were past scores right? Each horizon is judged once it has passed, and by nobody for whom it has not."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from data.features.features import targets
from data.files import write_table
from evaluation.metrics.churn import PAPER, churn_metrics, horizon_days, risk_columns
from evaluation.metrics.churn_profit import Campaign

if TYPE_CHECKING:
    from data.features.features import FeatureParams


def matured(
    scored: pl.DataFrame,
    outcomes: pl.DataFrame,
    today: date,
    seed: int,
    lead_days: int = 0,
    campaign: Campaign = PAPER,
) -> list[dict[str, Any]]:
    """One entry a model and horizon: model, horizon_days, matured and waiting (scores), as_of (first and last that
    have matured) and metrics (as evaluation.metrics.churn has them, with intervals by customer) or None.

    `scored` is what was predicted at the time: model, customer_id, as_of, risk_<days>; `outcomes` are of one event, and
    everything before `today` is known. A score matures when its whole horizon lies before today. Until then a customer
    is left out even if already known to have left: those who leave early are known first, and the share that left would
    look too high. Customers of whom one has lost sight are made up for by weights.
    """
    rows = targets(scored, outcomes, lead_days=lead_days)
    found = []
    for (model,), mine in rows.group_by("model", maintain_order=True):
        for name in risk_columns(mine):
            days = horizon_days(name)
            if days is None:  # a target without dates never has an end
                continue
            given = mine.filter(pl.col(name).is_not_null())
            ripe = given.filter(
                pl.col("as_of") + pl.duration(days=lead_days + days) <= pl.lit(today)
            )
            metrics = (
                churn_metrics(
                    ripe.select("customer_id", "as_of", "event", "time_days", name),
                    seed,
                    campaign=campaign,
                )
                if ripe.height
                else {}
            )
            found.append(
                {
                    "model": model,
                    "horizon_days": days,
                    "matured": ripe.height,
                    "waiting": given.height - ripe.height,
                    "as_of": [ripe["as_of"].min(), ripe["as_of"].max()] if ripe.height else [],
                    "metrics": {
                        figure: {"value": one.value, "low": one.low, "high": one.high}
                        for figure, one in metrics[name].items()
                        if np.isfinite(one.value)
                    }
                    if name in metrics
                    else None,
                }
            )
    return found


def archive_predictions(folder: Path, scores: pl.DataFrame, model: str) -> None:
    """Keeps what was predicted for the day that its horizons have passed: one file an as-of date and model."""
    folder.mkdir(parents=True, exist_ok=True)
    for (day,), rows in scores.group_by("as_of"):
        name = f"{day}-{hashlib.sha256(model.encode()).hexdigest()[:12]}.parquet"
        write_table(
            folder / name, rows.select(pl.lit(model).alias("model"), pl.all()).sort("customer_id")
        )


def matured_scores(
    folder: Path,
    tables: Mapping[str, pl.DataFrame],
    params: FeatureParams,
    seed: int,
    campaign: Campaign,
) -> list[dict[str, Any]]:
    """How the scores kept in `folder` have turned out, by model and horizon (see `matured`); [] where none are."""
    from data.features.features import is_dated, outcomes_of_event, snapshot

    files = sorted(folder.glob("*.parquet"))
    if not files or not is_dated(tables["outcomes"], params):
        return []
    scored = pl.concat([pl.read_parquet(file) for file in files], how="diagonal")
    outcomes = outcomes_of_event(tables["outcomes"], params).unique(
        "customer_id", keep="first", maintain_order=True
    )
    today = snapshot(tables["outcomes"], tables["contacts"], params)
    return matured(scored, outcomes, today, seed, params.lead_days, campaign)
