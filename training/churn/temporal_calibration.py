"""Estimates how much a churn model ages: trains on the past, calibrates on what came after."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date
from typing import TYPE_CHECKING

import polars as pl

from training.churn.learnable import ChurnTrainingError, n_churners, observed_horizons
from training.churn.likelihood import Rows, calibrate, encode

if TYPE_CHECKING:
    from models.churn.encoding import Encoder
    from models.churn.hazard import ChurnConfig, HazardNetwork

_PAST_SHARE = 2 / 3  # of the as-of dates are trained on, the others predicted


@dataclass(frozen=True)
class TemporalCalibration:
    """The temperature that a model of the time before `day` needed for the time from then on."""

    day: date
    temperature: float
    n_churners: int  # from that day on


def rows_known_on(rows: pl.DataFrame, day: date, lead_days: int = 0) -> pl.DataFrame:
    """Returns the rows of a feature frame before `day`, with outcomes as known at its start."""
    known_days = (pl.lit(day) - pl.col("as_of")).dt.total_days() - lead_days
    return rows.filter((pl.col("as_of") < day) & (known_days > 0)).with_columns(
        (pl.col("event") & (pl.col("time_days") <= known_days)).alias("event"),
        pl.min_horizontal("time_days", known_days.cast(pl.Float64)).alias("time_days"),
    )


def temporal_calibration(
    config: ChurnConfig,
    encoder: Encoder,
    rows: pl.DataFrame,
    *,
    fit: Callable[[HazardNetwork, Rows], None],
    min_events: int,
    lead_days: int,
) -> TemporalCalibration | None:
    """Fits a network to the first two thirds of the as-of dates and calibrates it on the rest.

    `rows` are those of train and valid. The past is what was known of train on the day between, the
    future is that of both: a model in use also predicts the customers it was trained on. Returns
    None where either side has fewer churners than `min_events`.
    """
    from models.churn.hazard import HazardNetwork

    days = rows["as_of"].unique().sort()
    day = days[int(len(days) * _PAST_SHARE)]
    past = rows_known_on(rows.filter(split="train"), day, lead_days)
    future = rows.filter(pl.col("as_of") >= day)
    if min(n_churners(past), n_churners(future)) < min_events:
        return None
    try:
        horizons = observed_horizons(past, config.horizons_days)
    except ChurnTrainingError:
        return None
    network = HazardNetwork(replace(config, horizons_days=horizons))
    fit(network, encode(encoder, past, horizons))
    temperature, _ = calibrate(network, encode(encoder, future, horizons))
    return TemporalCalibration(day, temperature, n_churners(future))
