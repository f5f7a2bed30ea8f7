"""The scorecard of a churn model: Brier score, discrimination and calibration by horizon."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from evaluation.metrics.churn import PAPER_CAMPAIGN, churn_figures, risk_columns, unit_losses
from evaluation.metrics.churn_profit import Campaign
from evaluation.metrics.churn_slices import calibration_by_slice
from evaluation.scorecard import (
    Estimate,
    Ratio,
    Scorecard,
    ScorecardError,
    refuse_duplicate_units,
    score_units,
)

# Simple models that scores are compared with, as they name columns of the units.
LIFE_TABLE, LOGISTIC = "life_table", "logistic"
_LOSSES = ("brier", "log_loss")
# Figures of churn_figures that are metrics, and whether lower is better. The others (calibration
# slope, rates) have no better side, and go to the facts.
_LOWER_IS_BETTER = {
    "ece": True,
    "auc": False,
    "c_index": False,
    "average_precision": False,
    "lift_5": False,
    "lift_10": False,
    "lift_20": False,
    "empc": False,
}


def churn_scorecard(
    frame: pl.DataFrame,
    *,
    model: str,
    data_hash: str,
    seed: int,
    created_at: str,
    bundle_sha256: str = "",
    facts: Mapping[str, Any] | None = None,
    slice_by: Sequence[str] = (),
    campaign: Campaign = PAPER_CAMPAIGN,
    baselines: Mapping[str, pl.DataFrame] | None = None,
) -> Scorecard:
    """Scores predicted risks against outcomes, by customer, in slices by columns of `frame`.

    `frame` has customer_id, as_of, event, time_days and risk_<days> (or risk). Metrics are
    brier_<days>, log_loss_<days>, auc_<days> and so on, and `brier` and `log_loss` over all
    horizons together. Losses are weighted against censoring (evaluation.metrics.churn) and can be
    paired. Facts hold calibration, on the whole and by slice, and how many customers `campaign`
    contacts.

    `baselines` are frames like `frame` with the risks of simple models, by LIFE_TABLE and LOGISTIC.
    They give the metrics scaled_brier (1 is perfect, 0 the life table, all horizons together) and
    gain_over_logistic (in Brier score), on the same units.

    Raises ScorecardError when a risk is missing or no outcome is known.
    """
    _check_risks(frame, model)
    units, ratios = units_of(frame, model, slice_by, baselines)
    metrics, slices = score_units(units, ratios, slice_by, seed=seed)
    figures, calibration = _figures(frame, seed, campaign)
    return Scorecard(
        kind="churn",
        model=model,
        bundle_sha256=bundle_sha256,
        data_hash=data_hash,
        created_at=created_at,
        metrics=metrics | figures,
        ratios=ratios,
        slices=slices,
        units=units,
        facts={
            **(facts or {}),
            "calibration": calibration,
            "calibration_slices": calibration_by_slice(frame, slice_by, seed),
        },
    )


def _check_risks(frame: pl.DataFrame, model: str) -> None:
    """Raises ScorecardError without a risk column, or where a customer has no finite risk."""
    names = risk_columns(frame)
    if not names:
        raise ScorecardError(
            f"model {model}: no column risk or risk_<days>. Join the predictions to their outcomes."
        )
    for name in names:
        if not frame[name].is_finite().fill_null(False).all():
            raise ScorecardError(
                f"model {model}: a customer has no {name}. Predict for every test row."
            )


def units_of(
    frame: pl.DataFrame,
    model: str,
    slice_by: Sequence[str] = (),
    baselines: Mapping[str, pl.DataFrame] | None = None,
) -> tuple[pl.DataFrame, dict[str, Ratio]]:
    """Returns a unit for each customer and as-of date with a known outcome, and the loss ratios.

    For each horizon (suffix _30, …, or none) there are weight, weighted losses, and `expected` and
    `left`: how many customers were predicted to leave, and did. `baselines` are as in
    `churn_scorecard`.
    """
    names = risk_columns(frame)
    unit = pl.format("{}@{}", "customer_id", pl.col("as_of").cast(pl.String).fill_null("")).alias(
        "unit"
    )
    cluster = pl.col("customer_id").cast(pl.String).alias("cluster")
    units = frame.select(unit, cluster, "customer_id", "as_of", *slice_by)
    refuse_duplicate_units(model, units)
    losses = unit_losses(frame).with_columns(unit)
    ratios: dict[str, Ratio] = {}
    for name in names:
        suffix = name.removeprefix("risk")
        weighted = {
            "brier": "brier",
            "log_loss": "log_loss",
            "predicted": "expected",
            "left": "left",
        }
        part = losses.filter(pl.col("risk") == name).select(
            "unit",
            pl.col("weight").alias(f"weight{suffix}"),
            *(
                (pl.col(column) * pl.col("weight")).alias(f"{alias}{suffix}")
                for column, alias in weighted.items()
            ),
        )
        units = units.join(part, on="unit", how="left", maintain_order="left")
        ratios |= {
            f"{loss}{suffix}": Ratio(f"{loss}{suffix}", f"weight{suffix}") for loss in _LOSSES
        }
    units = units.with_columns(
        pl.selectors.matches("^(weight|brier|log_loss|expected|left)(_[0-9]+)?$").fill_null(0.0)
    )
    if "risk" not in names:  # over all horizons together
        units = units.with_columns(
            pl.sum_horizontal(f"{part}{name.removeprefix('risk')}" for name in names).alias(part)
            for part in ("weight", *_LOSSES)
        )
        ratios |= {loss: Ratio(loss, "weight") for loss in _LOSSES}
    units = units.filter(pl.col("weight") > 0)
    if units.is_empty():
        raise ScorecardError(
            f"model {model}: no outcome of a test customer is known. Test on older dates."
        )
    return _with_baselines(units, ratios, baselines or {})


def _with_baselines(
    units: pl.DataFrame, ratios: dict[str, Ratio], baselines: Mapping[str, pl.DataFrame]
) -> tuple[pl.DataFrame, dict[str, Ratio]]:
    """Returns units and ratios with the gains over simple models, over all common horizons together."""
    for name, frame in baselines.items():
        suffixes = [
            risk.removeprefix("risk")
            for risk in risk_columns(frame)
            if f"brier{risk.removeprefix('risk')}" in ratios
        ]
        if not suffixes:
            continue
        unit = pl.format("{}@{}", "customer_id", pl.col("as_of").cast(pl.String).fill_null(""))
        losses = (
            unit_losses(frame)
            .filter(pl.col("risk").is_in([f"risk{suffix}" for suffix in suffixes]))
            .group_by(unit.alias("unit"))
            .agg((pl.col("brier") * pl.col("weight")).sum().alias(f"{name}_brier"))
        )
        units = units.join(losses, on="unit", how="left", maintain_order="left").with_columns(
            pl.col(f"{name}_brier").fill_null(0.0),
            pl.sum_horizontal(f"weight{suffix}" for suffix in suffixes).alias(f"{name}_weight"),
        )
        own = pl.sum_horizontal(f"brier{suffix}" for suffix in suffixes)
        units = units.with_columns((pl.col(f"{name}_brier") - own).alias(f"gain_over_{name}"))
    if f"{LIFE_TABLE}_brier" in units.columns:
        ratios["scaled_brier"] = Ratio(
            f"gain_over_{LIFE_TABLE}", f"{LIFE_TABLE}_brier", lower_is_better=False
        )
    if f"{LOGISTIC}_brier" in units.columns:
        ratios["gain_over_logistic"] = Ratio(
            f"gain_over_{LOGISTIC}", f"{LOGISTIC}_weight", lower_is_better=False
        )
    return units, ratios


def _figures(
    frame: pl.DataFrame, seed: int, campaign: Campaign
) -> tuple[dict[str, Estimate], dict[str, dict[str, float | None]]]:
    """Returns the figures that are no ratios of unit losses: metrics, and those of calibration."""
    metrics: dict[str, Estimate] = {}
    calibration: dict[str, dict[str, float | None]] = {}
    for name, measured in churn_figures(frame, seed=seed, campaign=campaign).items():
        for figure, interval in measured.items():
            if not math.isfinite(interval.value):
                continue
            full_name = f"{figure}{name.removeprefix('risk')}"
            if figure in _LOWER_IS_BETTER:
                metrics[full_name] = Estimate(
                    interval.value,
                    interval.low,
                    interval.high,
                    interval.units,
                    _LOWER_IS_BETTER[figure],
                )
            else:
                calibration[full_name] = {
                    "value": interval.value,
                    "low": interval.low,
                    "high": interval.high,
                }
    return metrics, calibration
