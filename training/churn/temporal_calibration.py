"""What time does to a churn model: one of what was known on a day, calibrated on what came after that day."""

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

_PAST = 2 / 3  # of the as-of dates are learned from, the others foreseen


@dataclass(frozen=True)
class TemporalCalibration:
    """The temperature that a model of everything before `day` needed for everything from then on."""

    day: date
    temperature: float
    n_churners: int  # from that day on


def rows_known_on(rows: pl.DataFrame, day: date, lead_days: int = 0) -> pl.DataFrame:
    """The rows of a feature frame before `day`, with outcomes as they were known at its start."""
    known = (pl.lit(day) - pl.col("as_of")).dt.total_days() - lead_days
    return rows.filter((pl.col("as_of") < day) & (known > 0)).with_columns(
        (pl.col("event") & (pl.col("time_days") <= known)).alias("event"),
        pl.min_horizontal("time_days", known.cast(pl.Float64)).alias("time_days"),
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
    """Fits a network to what was known of train two thirds into the as-of dates, and foresees the rest of them.

    `rows` are those of train and valid. The future is that of both, for it is the same customers that a model in use
    foresees. None where either side of the day has fewer than `min_events` leavers.
    """
    from models.churn.hazard import HazardNetwork

    days = rows["as_of"].unique().sort()
    day = days[int(len(days) * _PAST)]
    past, future = (
        rows_known_on(rows.filter(split="train"), day, lead_days),
        rows.filter(pl.col("as_of") >= day),
    )
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
