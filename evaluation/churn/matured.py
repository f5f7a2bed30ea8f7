"""Scores past predictions against outcomes, each horizon once it has passed for its customers."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from data.features.features import targets
from data.files import write_table
from evaluation.metrics.churn import (
    PAPER_CAMPAIGN,
    churn_metrics,
    horizon_days,
    risk_columns,
    unit_losses,
)
from evaluation.metrics.churn_profit import Campaign

if TYPE_CHECKING:
    from data.features.features import FeatureParams
    from evaluation.scorecard import Scorecard

_LOSSES = ("brier", "log_loss")


def matured(
    scored: pl.DataFrame,
    outcomes: pl.DataFrame,
    today: date,
    *,
    seed: int,
    lead_days: int = 0,
    campaign: Campaign = PAPER_CAMPAIGN,
) -> list[dict[str, Any]]:
    """Returns how the predictions of each model and horizon have turned out.

    Each entry has model, horizon_days, matured and waiting (numbers of predictions), as_of (first
    and last that have matured) and metrics (as evaluation.metrics.churn, with intervals by
    customer), or None without any.

    `scored` is what was predicted at the time: model, customer_id, as_of, risk_<days>; `outcomes`
    are of one event, and everything before `today` is known. A prediction matures when its whole
    horizon lies before today. Until then a customer is left out even if already known to have left:
    those who leave early are known first, and the share that left would look too high. Censored
    customers are made up for by weights.
    """
    rows = targets(scored, outcomes, lead_days=lead_days)
    entries = []
    for (model,), predictions in rows.group_by("model", maintain_order=True):
        for name in risk_columns(predictions):
            days = horizon_days(name)
            if days is None:  # a target without dates never matures
                continue
            predicted = predictions.filter(pl.col(name).is_not_null())
            complete = predicted.filter(
                pl.col("as_of") + pl.duration(days=lead_days + days) <= pl.lit(today)
            )
            entries.append(
                {
                    "model": model,
                    "horizon_days": days,
                    "matured": complete.height,
                    "waiting": predicted.height - complete.height,
                    "as_of": [complete["as_of"].min(), complete["as_of"].max()]
                    if complete.height
                    else [],
                    "metrics": _metrics(complete, name, seed=seed, campaign=campaign),
                }
            )
    return entries


def _metrics(
    complete: pl.DataFrame, name: str, *, seed: int, campaign: Campaign
) -> dict[str, dict[str, float | None]] | None:
    """Returns the metrics of the risk column `name` on matured rows; None where there are none."""
    if not complete.height:
        return None
    rows = complete.select("customer_id", "as_of", "event", "time_days", name)
    metrics = churn_metrics(rows, seed=seed, campaign=campaign)
    if name not in metrics:
        return None
    return {
        figure: {"value": interval.value, "low": interval.low, "high": interval.high}
        for figure, interval in metrics[name].items()
        if np.isfinite(interval.value)
    }


def archive_predictions(folder: Path, scores: pl.DataFrame, model: str) -> None:
    """Writes predictions to `folder`, one file for each as-of date and model, to score later."""
    folder.mkdir(parents=True, exist_ok=True)
    for (day,), rows in scores.group_by("as_of"):
        name = f"{day}-{_short(model)}.parquet"
        write_table(
            folder / name, rows.select(pl.lit(model).alias("model"), pl.all()).sort("customer_id")
        )


def matured_scores(
    folder: Path,
    tables: Mapping[str, pl.DataFrame],
    params: FeatureParams,
    *,
    seed: int,
    campaign: Campaign,
) -> list[dict[str, Any]]:
    """Returns how the predictions archived in `folder` have turned out (see `matured`).

    Empty where there are none, or where outcomes have no dates.
    """
    from data.features.features import is_dated, outcomes_of_event, snapshot

    files = sorted(folder.glob("*.parquet"))
    if not files or not is_dated(tables["outcomes"], params):
        return []
    scored = pl.concat([pl.read_parquet(file) for file in files], how="diagonal")
    outcomes = outcomes_of_event(tables["outcomes"], params).unique(
        "customer_id", keep="first", maintain_order=True
    )
    today = snapshot(tables["outcomes"], tables["contacts"], params)
    return matured(
        scored, outcomes, today, seed=seed, lead_days=params.lead_days, campaign=campaign
    )


def matured_scorecard(
    folder: Path,
    tables: Mapping[str, pl.DataFrame],
    params: FeatureParams,
    *,
    model: str,
    bundle_sha256: str,
    seed: int,
    now: datetime,
) -> Scorecard | None:
    """Returns the scorecard of a model's archived predictions, each horizon where it has passed.

    Metrics are `brier_<days>` and `log_loss_<days>`, clustered by customer; units are customers and
    as-of dates. None before anything has matured.
    """
    from data.features.features import is_dated, outcomes_of_event, snapshot
    from evaluation.scorecard import Ratio, Scorecard, score_units

    files = sorted(folder.glob(f"*-{_short(model)}.parquet"))
    if not files or not is_dated(tables["outcomes"], params):
        return None
    scored = pl.concat([pl.read_parquet(file) for file in files], how="diagonal")
    outcomes = outcomes_of_event(tables["outcomes"], params).unique(
        "customer_id", keep="first", maintain_order=True
    )
    today = snapshot(tables["outcomes"], tables["contacts"], params)
    rows = targets(scored, outcomes, lead_days=params.lead_days)
    parts: list[pl.DataFrame] = []
    ratios: dict[str, Ratio] = {}
    for name in risk_columns(rows):
        days = horizon_days(name)
        if days is None:
            continue
        passed = pl.col("as_of") + pl.duration(days=params.lead_days + days) <= pl.lit(today)
        complete = rows.filter(pl.col(name).is_not_null() & passed)
        if complete.is_empty():
            continue
        losses = unit_losses(complete.select("customer_id", "as_of", "event", "time_days", name))
        weight = f"weight_{days}"
        parts.append(
            losses.select(
                pl.format("{}@{}", "customer_id", pl.col("as_of").cast(pl.String)).alias("unit"),
                pl.col("customer_id").cast(pl.String).alias("cluster"),
                "customer_id",
                "as_of",
                pl.col("weight").alias(weight),
                *((pl.col(loss) * pl.col("weight")).alias(f"{loss}_{days}") for loss in _LOSSES),
            )
        )
        ratios |= {f"{loss}_{days}": Ratio(f"{loss}_{days}", weight) for loss in _LOSSES}
    if not parts:
        return None
    keys = ["unit", "cluster", "customer_id", "as_of"]
    units = pl.concat(parts, how="diagonal").group_by(keys, maintain_order=True).agg(pl.all().sum())
    metrics, _ = score_units(units, ratios, (), seed=seed)
    return Scorecard(
        kind="churn",
        model=model,
        data_hash=hashlib.sha256(units.sort("unit").write_csv().encode()).hexdigest(),
        created_at=now.isoformat(),
        metrics=metrics,
        ratios=ratios,
        units=units,
        bundle_sha256=bundle_sha256,
    )


def _short(model: str) -> str:
    return hashlib.sha256(model.encode()).hexdigest()[:12]
