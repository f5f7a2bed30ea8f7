"""Whether a churn model can learn from what there is: enough customers, both outcomes, nothing that gives it away."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import polars as pl

from data.features.features import Feature
from evaluation.metrics.churn import has_both_outcomes


class ChurnTrainingError(ValueError):
    """There is not enough, or not the right kind of data to learn from."""


class Limits(Protocol):
    """The settings of churn training that say what is enough."""

    @property
    def min_customers(self) -> int: ...

    @property
    def min_events(self) -> int: ...


def check(limits: Limits, parts: dict[str, pl.DataFrame]) -> bool:
    """Whether targets have dates; raises ChurnTrainingError when there is too little of anything."""
    for name, part in parts.items():
        if part.is_empty():
            raise ChurnTrainingError(
                f"churn: no customer with a known outcome is in {name}. Raise splits.{name}_share."
            )
    part = parts["train"]
    customers, left = part["customer_id"].n_unique(), n_churners(part)
    if left == 0 or part["event"].all():
        every = "nobody" if left == 0 else "everybody"
        raise ChurnTrainingError(
            f"churn: {every} among {customers} customers left, so there is nothing to tell apart."
        )
    for what, found, least in (
        ("customers", customers, limits.min_customers),
        ("leavers", left, limits.min_events),
    ):
        if found < least:
            raise ChurnTrainingError(
                f"churn: {found} {what} to learn from, {least} needed. Deliver more customers with outcomes, or lower "
                f"churn.min_{'customers' if what == 'customers' else 'events'}."
            )
    dated = part["time_days"].is_not_null()
    if dated.any() != dated.all():
        raise ChurnTrainingError(
            "churn: some targets have dates and some have none. Compute the features again."
        )
    return bool(dated.any())


def refuse_leaks(part: pl.DataFrame, names: Sequence[str], limit: float) -> None:
    """Raises ChurnTrainingError naming a feature that by itself tells who left almost without error."""
    for name, auc in leaks(part, names, limit):
        raise ChurnTrainingError(
            f"churn: feature {name} alone separates who left (AUC {auc:.3f}), which only knowing the outcome can do. "
            f"Put {name.removeprefix('attr_')!r} in features.exclude, or raise churn.leak_auc."
        )


def leaks(part: pl.DataFrame, names: Sequence[str], limit: float) -> list[tuple[str, float]]:
    """Features whose own AUC on `event` is over `limit`, either way round, with that AUC; the worst first.

    A category counts as the share of its rows that left. Nulls rank lowest: a column that is filled only for those who
    left is a leak, too.
    """
    target, found = part["event"].to_numpy(), []
    left = int(target.sum())
    for name in names:
        series = part[name]
        if series.dtype == pl.String:
            series = part.select(pl.col("event").cast(pl.Float64).mean().over(name)).to_series()
        ranks = series.fill_null(float("-inf")).rank("average").to_numpy()
        auc = (ranks[target].sum() - left * (left + 1) / 2) / (left * (len(target) - left))
        found.append((name, float(max(auc, 1 - auc))))
    return sorted((one for one in found if one[1] > limit), key=lambda one: (-one[1], one[0]))


def observed_horizons(part: pl.DataFrame, horizons_days: Sequence[int]) -> tuple[int, ...]:
    """The horizons by which some had left and some had stayed; about the others `part` says nothing.

    Raises ChurnTrainingError when none is left.
    """
    found = tuple(days for days in horizons_days if has_both_outcomes(part, days))
    if not found:
        raise ChurnTrainingError(
            f"churn: by no horizon of {', '.join(map(str, horizons_days))} days were customers seen to leave and to "
            "stay. Deliver outcomes over a longer time, or a shorter one in churn.horizons_days."
        )
    return found


def supported_features(
    declared: Sequence[Feature], left: int, leavers_per_feature: int
) -> list[Feature]:
    """All features where enough customers left to learn from, else those that no other one stands for.

    The rule of events per variable (Peduzzi et al., 1996), generous with 10 and safe with 20, for every weight: with
    eight bins a number takes nine.
    """
    if left >= leavers_per_feature * len(declared):
        return list(declared)
    return [feature for feature in declared if not feature.detail] or list(declared)


def n_churners(part: pl.DataFrame) -> int:
    """Customers who left."""
    return part.filter(pl.col("event"))["customer_id"].n_unique()
