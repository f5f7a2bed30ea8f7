"""Compares two models within each slice of the test set, with a correction for multiple tests."""

from __future__ import annotations

from dataclasses import dataclass, replace

import polars as pl

from evaluation.metrics.bootstrap import LEVEL, Interval, holm, paired_difference, paired_p
from evaluation.scorecard import Scorecard, gain_sides, pair


@dataclass(frozen=True)
class SliceGain:
    """How much better the candidate is within one slice: `value` of the column `by`.

    `gain` is positive for better. `p` is the one-sided p-value of "no worse than allowed", after
    Holm's correction over all slices that were large enough to be tested; None where this one was
    not.
    """

    by: str
    value: str
    gain: Interval
    p: float | None


def slice_gains(
    candidate: Scorecard,
    reference: Scorecard,
    metric: str,
    *,
    seed: int,
    level: float = LEVEL,
    allowed: float = 0.0,
    min_clusters: int = 5,
) -> list[SliceGain]:
    """Returns the gain in every slice of both scorecards, the most significant loss first.

    `allowed` is the loss, in units of the metric, that does not count against the candidate.
    Slices without weight are left out, those of fewer than `min_clusters` clusters are not tested.
    Raises ScorecardError when the two were not scored on the same units.
    """
    rows = pair(candidate, reference, metric)
    lower = candidate.ratios[metric].lower_is_better
    gains: list[SliceGain] = []
    for by in sorted(set(candidate.slices) & set(reference.slices) & set(candidate.units.columns)):
        valued = rows.join(
            candidate.units.select("unit", pl.col(by).cast(pl.String)), on="unit", how="left"
        )
        for (value,), part in (
            valued.filter(pl.col(by).is_not_null()).sort(by).group_by([by], maintain_order=True)
        ):
            if not part["den_a"].sum() > 0:
                continue
            first, second = gain_sides(part, lower_is_better=lower)
            cluster = part["cluster"].to_numpy()
            gain = paired_difference(first, second, cluster, seed=seed, level=level)
            tested = part.filter(pl.col("den_a") > 0)["cluster"].n_unique() >= min_clusters
            p = paired_p(first, second, cluster, seed=seed, at_least=-allowed) if tested else None
            gains.append(SliceGain(by, str(value), gain, p))
    adjusted = iter(holm([row.p for row in gains if row.p is not None]))
    gains = [row if row.p is None else replace(row, p=next(adjusted)) for row in gains]
    return sorted(gains, key=lambda row: (row.p is None, row.p or 0.0, row.gain.value))


def loss_p_value(
    candidate: Scorecard, reference: Scorecard, metric: str, *, seed: int, allowed: float = 0.0
) -> float | None:
    """Returns the one-sided p-value of "the candidate loses no more than `allowed`".

    None with a single cluster. Raises ScorecardError as `pair` does.
    """
    rows = pair(candidate, reference, metric)
    first, second = gain_sides(rows, lower_is_better=candidate.ratios[metric].lower_is_better)
    return paired_p(first, second, rows["cluster"].to_numpy(), seed=seed, at_least=-allowed)
