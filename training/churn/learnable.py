"""Checks that a churn model can be trained: enough customers, both outcomes, no leaking feature."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from data.features.features import Feature
from evaluation.metrics.churn import has_both_outcomes
from training.churn.settings import ChurnTraining


class ChurnTrainingError(ValueError):
    """There is not enough, or not the right kind of data to train on."""


def check_outcomes(params: ChurnTraining, parts: dict[str, pl.DataFrame]) -> bool:
    """Returns whether outcomes have dates; raises ChurnTrainingError when anything is too little.

    `parts` are the rows of train and valid, with known outcomes.
    """
    for name, part in parts.items():
        if part.is_empty():
            raise ChurnTrainingError(
                f"churn: no customer with a known outcome is in {name}. Raise splits.{name}_share."
            )
    part = parts["train"]
    customers, churners = part["customer_id"].n_unique(), n_churners(part)
    if churners == 0 or part["event"].all():
        who = "nobody" if churners == 0 else "everybody"
        raise ChurnTrainingError(
            f"churn: {who} among {customers} customers left, so there is nothing to tell apart."
        )
    for what, count, least, setting in (
        ("customers", customers, params.min_customers, "min_customers"),
        ("churners", churners, params.min_events, "min_events"),
    ):
        if count < least:
            raise ChurnTrainingError(
                f"churn: {count} {what} to learn from, {least} needed. Deliver more customers with "
                f"outcomes, or lower churn.{setting}."
            )
    has_date = part["time_days"].is_not_null()
    if has_date.any() != has_date.all():
        raise ChurnTrainingError(
            "churn: some targets have dates and some have none. Compute the features again."
        )
    return bool(has_date.any())


def assert_no_leaks(part: pl.DataFrame, names: Sequence[str], limit: float) -> None:
    """Raises ChurnTrainingError naming a feature that alone separates who left almost perfectly."""
    for name, auc in leaking_features(part, names, limit):
        raise ChurnTrainingError(
            f"churn: feature {name} alone separates who left (AUC {auc:.3f}), which only knowing "
            f"the outcome can do. Put {name.removeprefix('attr_')!r} in features.exclude, or raise "
            "churn.leak_auc."
        )


def leaking_features(
    part: pl.DataFrame, names: Sequence[str], limit: float
) -> list[tuple[str, float]]:
    """Returns (feature, AUC on `event`) where the AUC, either way round, is over `limit`.

    The highest comes first. A category counts as the share of its rows that left. Nulls rank
    lowest: a column that is filled only for those who left is a leak, too.
    """
    target = part["event"].to_numpy()
    leaks = []
    for name in names:
        auc = _auc(part, name, target)
        if auc > limit:
            leaks.append((name, auc))
    return sorted(leaks, key=lambda leak: (-leak[1], leak[0]))


def _auc(part: pl.DataFrame, name: str, target: np.ndarray) -> float:
    """Returns the larger of a column's AUC and 1 - AUC, ties counting half (Mann-Whitney)."""
    series = part[name]
    if series.dtype == pl.String:
        series = part.select(pl.col("event").cast(pl.Float64).mean().over(name)).to_series()
    ranks = series.fill_null(float("-inf")).rank("average").to_numpy()
    positives = int(target.sum())
    wins = ranks[target].sum() - positives * (positives + 1) / 2
    auc = wins / (positives * (len(target) - positives))
    return float(max(auc, 1 - auc))


def observed_horizons(part: pl.DataFrame, horizons_days: Sequence[int]) -> tuple[int, ...]:
    """Returns the horizons by which some customers of `part` left and some stayed.

    Raises ChurnTrainingError when there is none.
    """
    horizons = tuple(days for days in horizons_days if has_both_outcomes(part, days))
    if not horizons:
        raise ChurnTrainingError(
            f"churn: by no horizon of {', '.join(map(str, horizons_days))} days were customers "
            "seen to leave and to stay. Deliver outcomes over a longer time, or a shorter one in "
            "churn.horizons_days."
        )
    return horizons


def supported_features(
    declared: Sequence[Feature], churners: int, leavers_per_feature: int
) -> list[Feature]:
    """Returns all features with enough churners, else those that do not only refine another one.

    The rule of events per variable (Peduzzi et al., 1996), generous with 10 and safe with 20, for
    every weight: with eight bins a number has nine.
    """
    if churners >= leavers_per_feature * len(declared):
        return list(declared)
    return [feature for feature in declared if not feature.detail] or list(declared)


def n_churners(part: pl.DataFrame) -> int:
    """Returns the number of customers who left."""
    return part.filter(pl.col("event"))["customer_id"].n_unique()
