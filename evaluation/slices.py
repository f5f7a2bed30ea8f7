"""Two models side by side within each slice of the test set, with a correction for having looked so often."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from evaluation.metrics.bootstrap import LEVEL, Interval, holm, paired_difference, paired_p
from evaluation.scorecard import Scorecard, pair


@dataclass(frozen=True)
class SliceGain:
    """How much better the candidate is within one value of one column (positive: better).

    `p` is the one-sided p-value of "no worse than allowed", after Holm's correction over all slices that were large
    enough to be tested; None where this one was not.
    """

    by: str
    value: str
    gain: Interval
    p: float | None


def slice_gains(
    candidate: Scorecard,
    reference: Scorecard,
    metric: str,
    seed: int,
    level: float = LEVEL,
    allowed: float = 0.0,
    min_clusters: int = 5,
) -> list[SliceGain]:
    """Every slice both scorecards were cut into, the surest loss first; slices without weight are left out.

    `allowed` is the loss, in units of the metric, that is not held against the candidate. Raises ScorecardError when
    the two were not scored on the same units.
    """
    rows = pair(candidate, reference, metric)
    lower = candidate.ratios[metric].lower_is_better
    found: list[SliceGain] = []
    for by in sorted(set(candidate.slices) & set(reference.slices) & set(candidate.units.columns)):
        valued = rows.join(
            candidate.units.select("unit", pl.col(by).cast(pl.String)), on="unit", how="left"
        )
        for (value,), part in (
            valued.filter(pl.col(by).is_not_null()).sort(by).group_by([by], maintain_order=True)
        ):
            if not part["den_a"].sum() > 0:
                continue
            first, second = _sides(part, lower)
            cluster = part["cluster"].to_numpy()
            gain = paired_difference(first, second, cluster, seed, level)
            tested = part.filter(pl.col("den_a") > 0)["cluster"].n_unique() >= min_clusters
            p = paired_p(first, second, cluster, seed, -allowed) if tested else None
            found.append(SliceGain(by, str(value), gain, p))
    tested_ones = [one for one in found if one.p is not None]
    adjusted = iter(holm([one.p for one in tested_ones if one.p is not None]))
    found = [one if one.p is None else replace(one, p=next(adjusted)) for one in found]
    return sorted(found, key=lambda one: (one.p is None, one.p or 0.0, one.gain.value))


def loss_p(
    candidate: Scorecard, reference: Scorecard, metric: str, seed: int, allowed: float = 0.0
) -> float | None:
    """One-sided p-value of "the candidate loses no more than `allowed`"; None with a single cluster."""
    rows = pair(candidate, reference, metric)
    first, second = _sides(rows, candidate.ratios[metric].lower_is_better)
    return paired_p(first, second, rows["cluster"].to_numpy(), seed, -allowed)


def _sides(
    rows: pl.DataFrame, lower_is_better: bool
) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Numerators and denominators so that first minus second is the candidate's gain."""
    ours, theirs = (
        (rows[f"num_{side}"].to_numpy(), rows[f"den_{side}"].to_numpy()) for side in "ab"
    )
    return (theirs, ours) if lower_is_better else (ours, theirs)
