"""The scorecard of a churn model: discrimination, Brier scores and calibration by horizon, with intervals."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from evaluation.metrics.churn import PAPER, churn_figures, per_unit, risk_columns
from evaluation.metrics.churn_profit import Campaign
from evaluation.metrics.churn_slices import calibration_by_slice
from evaluation.scorecard import (
    Estimate,
    Ratio,
    Scorecard,
    ScorecardError,
    _refuse_doubles,
    score_units,
)

# What churn_figures measures, and whether less of it is better; the rest has no better side.
_CHURN_DIRECTIONS = {
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
    model: str,
    data_hash: str,
    frame: pl.DataFrame,
    seed: int,
    created_at: str,
    bundle_sha256: str = "",
    facts: Mapping[str, Any] | None = None,
    slice_by: Sequence[str] = (),
    campaign: Campaign = PAPER,
) -> Scorecard:
    """Scores predicted risks against what customers did, clustered by customer, sliced by columns of `frame`.

    `frame` has customer_id, as_of, event, time_days and risk_<days> (or risk). Metrics are brier_<days>,
    log_loss_<days>, auc_<days> and so on, and `brier` and `log_loss` over all horizons together. Those of losses are
    weighted as evaluation.metrics.churn says and can be paired. Facts hold calibration, on the whole and by slice, and
    how many customers `campaign` contacts.
    Raises ScorecardError when a risk is missing or no outcome is known.
    """
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
    unit = pl.format("{}@{}", "customer_id", pl.col("as_of").cast(pl.String).fill_null("")).alias(
        "unit"
    )
    cluster = pl.col("customer_id").cast(pl.String).alias("cluster")
    units = frame.select(unit, cluster, "customer_id", "as_of", *slice_by)
    _refuse_doubles(model, units)
    losses = per_unit(frame).with_columns(unit)
    ratios: dict[str, Ratio] = {}
    for name in names:
        suffix = name.removeprefix("risk")
        part = losses.filter(pl.col("risk") == name).select(
            "unit",
            pl.col("weight").alias(f"weight{suffix}"),
            (pl.col("brier") * pl.col("weight")).alias(f"brier{suffix}"),
            (pl.col("log_loss") * pl.col("weight")).alias(f"log_loss{suffix}"),
            (pl.col("predicted") * pl.col("weight")).alias(
                f"expected{suffix}"
            ),  # how many should leave, and left
            (pl.col("left") * pl.col("weight")).alias(f"left{suffix}"),
        )
        units = units.join(part, on="unit", how="left", maintain_order="left")
        ratios |= {
            f"{loss}{suffix}": Ratio(f"{loss}{suffix}", f"weight{suffix}")
            for loss in ("brier", "log_loss")
        }
    units = units.with_columns(
        pl.selectors.matches("^(weight|brier|log_loss|expected|left)(_[0-9]+)?$").fill_null(0.0)
    )
    if "risk" not in names:
        units = units.with_columns(
            pl.sum_horizontal(f"{part}{name.removeprefix('risk')}" for name in names).alias(part)
            for part in ("weight", "brier", "log_loss")
        )
        ratios |= {loss: Ratio(loss, "weight") for loss in ("brier", "log_loss")}
    units = units.filter(pl.col("weight") > 0)
    if units.is_empty():
        raise ScorecardError(
            f"model {model}: no outcome of a test customer is known. Test on older dates."
        )
    metrics, slices = score_units(units, ratios, slice_by, seed)
    calibration = {}
    for name, measured in churn_figures(frame, seed, campaign=campaign).items():
        for figure, found in measured.items():
            full = f"{figure}{name.removeprefix('risk')}"
            if not math.isfinite(found.value):
                continue
            if figure in _CHURN_DIRECTIONS:
                metrics[full] = Estimate(
                    found.value, found.low, found.high, found.units, _CHURN_DIRECTIONS[figure]
                )
            else:
                calibration[full] = {"value": found.value, "low": found.low, "high": found.high}
    return Scorecard(
        kind="churn",
        model=model,
        bundle_sha256=bundle_sha256,
        data_hash=data_hash,
        created_at=created_at,
        metrics=metrics,
        ratios=ratios,
        slices=slices,
        units=units,
        facts={
            **(facts or {}),
            "calibration": calibration,
            "calibration_slices": calibration_by_slice(frame, slice_by, seed),
        },
    )
