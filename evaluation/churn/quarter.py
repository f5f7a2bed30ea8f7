"""The scorecard of a recipe on the last quarter: Brier score, and gains over simple models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from evaluation.churn.scorecard import units_of
from evaluation.scorecard import Scorecard, score_units


def quarter_scorecard(
    frame: pl.DataFrame,
    baselines: Mapping[str, pl.DataFrame],
    *,
    model: str,
    bundle_sha256: str,
    data_hash: str,
    seed: int,
    created_at: str,
    facts: Mapping[str, Any],
) -> Scorecard:
    """Returns the scorecard of predictions `frame` of the last quarter, clustered by customer.

    `frame` and each of `baselines` (life_table, logistic) hold customer_id, as_of, event, time_days
    and risk_<days>. Metrics are brier and log_loss by horizon and together, scaled_brier and
    gain_over_logistic; the gate computes their intervals anew, clustered both ways.
    """
    units, ratios = units_of(frame, model, (), baselines)
    metrics, _ = score_units(units, ratios, (), seed=seed)
    return Scorecard(
        kind="churn",
        model=model,
        bundle_sha256=bundle_sha256,
        data_hash=data_hash,
        created_at=created_at,
        metrics=metrics,
        ratios=ratios,
        units=units,
        facts=dict(facts),
    )
