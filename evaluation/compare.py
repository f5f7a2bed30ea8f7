"""Compares runs: what was set differently, what came of it with intervals, and which test units changed most."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from evaluation.metrics.bootstrap import Interval
from evaluation.scorecard import Estimate, Scorecard, ScorecardError, gain, pair
from evaluation.slices import SliceGain, slice_gains
from models.kinds import kind_of

_SHORT = 12  # how much of an id or hash is shown


class CompareError(ValueError):
    """These runs cannot be compared."""


class DifferentDataError(CompareError):
    """The runs were tested on different data."""


@dataclass(frozen=True)
class RunView:
    """What a comparison needs of a run. With a scorecard its data hash counts, and units can be paired."""

    run_id: str
    params: Mapping[str, Any]
    metrics: Mapping[str, float]
    data_hash: str = ""
    scorecard: Scorecard | None = None
    name: str = ""
    learned_from: Mapping[str, str] = field(
        default_factory=dict
    )  # what it was trained on and with: data, code

    @property
    def label(self) -> str:
        """What to call it: its name, or the beginning of its id."""
        return self.name or self.run_id[:_SHORT]

    @property
    def tested_on(self) -> str:
        """Hash of the test data."""
        return self.scorecard.data_hash if self.scorecard else self.data_hash


@dataclass(frozen=True)
class Difference:
    """How much better `other` is than `first` in one metric (positive: better), with the paired interval."""

    first: str
    other: str
    metric: str
    gain: Interval

    @property
    def sure(self) -> bool:
        """Whether the whole interval lies on one side of nothing."""
        low, high = self.gain.low, self.gain.high
        return low is not None and high is not None and (low > 0 or high < 0)


@dataclass(frozen=True)
class Changes:
    """Test units that `other` does better, equally and worse than `first`, and where it lost most.

    `worst` has unit, before and after (errors, or weighted loss), and for calls contact_id, role, start_s, ref,
    hyp_before and hyp_after: what to listen to. `whole` is a call or a customer; `wholes` has one row each (`name`,
    before, after) of those that changed, the greatest loss first.
    """

    first: str
    other: str
    metric: str
    better: int
    same: int
    worse: int
    worst: pl.DataFrame
    whole: str
    wholes: pl.DataFrame


@dataclass(frozen=True)
class SliceChange:
    """How much better `other` is than `first` within one slice, with a p-value corrected for the number of slices."""

    first: str
    other: str
    metric: str
    found: SliceGain


@dataclass(frozen=True)
class Comparison:
    """Everything to show. Rows of `params` and `metrics` have one entry a run; the first run is the yardstick."""

    runs: Sequence[RunView]
    params: list[tuple[str, list[str | None]]]
    metrics: list[tuple[str, list[Estimate | None]]]
    differences: list[Difference] = field(default_factory=list)
    changes: list[Changes] = field(default_factory=list)
    slices: list[SliceChange] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def same_data(self) -> bool:
        """Whether all runs were tested on the same, known data."""
        return len({run.tested_on for run in self.runs}) == 1 and bool(self.runs[0].tested_on)


def compare(
    runs: Sequence[RunView], across_data: bool = False, seed: int = 0, worst: int = 10
) -> Comparison:
    """Compares every run with the first; `worst` is how many lost test units to list for each.

    Raises DifferentDataError naming the hashes when the runs were tested on different (or unknown) data, unless
    `across_data`: then they are shown side by side, marked, and never subtracted. Raises CompareError for
    fewer than two runs and for models of different kinds.
    """
    if len(runs) < 2:
        raise CompareError(f"{len(runs)} run to compare. Name at least two.")
    kinds = {run.scorecard.kind for run in runs if run.scorecard}
    if len(kinds) > 1:
        raise CompareError(
            f"models of different kinds ({', '.join(sorted(kinds))}) have no metric in common."
        )
    found = Comparison(runs, _differing_params(runs), _all_metrics(runs))
    if not found.same_data:
        on = "; ".join(f"{run.label} on {run.tested_on[:_SHORT] or 'unknown data'}" for run in runs)
        if not across_data:
            raise DifferentDataError(
                f"tested on different data: {on}. Score both on one test set, or pass --across-data."
            )
        found.notes.append(
            f"Tested on different data: {on}. Their figures cannot be subtracted from one another."
        )
    first = runs[0]
    for other in runs[1:]:
        if first.scorecard is None or other.scorecard is None:
            found.notes.append(
                f"{first.label} and {other.label}: no scorecard on both sides, so nothing to pair."
            )
        elif first.tested_on == other.tested_on and first.tested_on:
            try:
                _pair_up(
                    found, first.label, other.label, first.scorecard, other.scorecard, seed, worst
                )
            except ScorecardError as error:
                found.notes.append(str(error))
    return found


def _differing_params(runs: Sequence[RunView]) -> list[tuple[str, list[str | None]]]:
    names = sorted({name for run in runs for name in run.params})
    rows = [
        (name, [str(run.params[name]) if name in run.params else None for run in runs])
        for name in names
    ]
    return [(name, values) for name, values in rows if len(set(values)) > 1]


def _all_metrics(runs: Sequence[RunView]) -> list[tuple[str, list[Estimate | None]]]:
    scored = [run.scorecard.metrics if run.scorecard else {} for run in runs]
    # Where a scorecard measured a metric, what the run logged under that name is the same figure without an interval.
    names = sorted(
        {name for run, card in zip(runs, scored, strict=True) for name in (*run.metrics, *card)}
    )

    def of(run: RunView, card: Mapping[str, Estimate], name: str) -> Estimate | None:
        if name in card:
            return card[name]
        return (
            Estimate(float(run.metrics[name]), None, None, 0, False)
            if name in run.metrics
            else None
        )

    return [
        (name, [of(run, card, name) for run, card in zip(runs, scored, strict=True)])
        for name in names
    ]


def _pair_up(
    found: Comparison, first: str, other: str, old: Scorecard, new: Scorecard, seed: int, worst: int
) -> None:
    metric = kind_of(old.kind).primary_metric
    paired = pair(new, old, metric)
    for name in sorted(set(old.ratios) & set(new.ratios) & set(old.metrics) & set(new.metrics)):
        try:
            found.differences.append(Difference(first, other, name, gain(new, old, name, seed)))
        except ScorecardError:
            continue  # weighted by what the model itself wrote (precision), so there are no pairs
    found.slices.extend(
        SliceChange(first, other, metric, one) for one in slice_gains(new, old, metric, seed)
    )
    rows = paired.select("unit", pl.col("num_b").alias("before"), pl.col("num_a").alias("after"))
    lost = pl.col("after") - pl.col("before")
    if not old.ratios[metric].lower_is_better:
        lost = -lost
    rows = rows.with_columns(lost.alias("lost"))
    show = (
        rows.filter(pl.col("lost") > 0).sort(["lost", "unit"], descending=[True, False]).head(worst)
    )
    if "hyp" in old.units.columns:
        texts = old.units.select(
            "unit", "contact_id", "role", "start_s", "ref", pl.col("hyp").alias("hyp_before")
        )
        heard = new.units.select("unit", pl.col("hyp").alias("hyp_after"))
        show = show.join(texts, on="unit", maintain_order="left").join(
            heard, on="unit", maintain_order="left"
        )
    key, whole = kind_of(old.kind).unit, kind_of(old.kind).unit_title
    wholes = (
        rows.join(old.units.select("unit", pl.col(key).cast(pl.String).alias("name")), on="unit")
        .group_by("name")
        .agg(pl.col("before", "after", "lost").sum())
        .filter(pl.col("lost") != 0)
        .sort("lost", "name", descending=[True, False])
    )
    if wholes.height > 2 * worst:
        wholes = pl.concat([wholes.head(worst), wholes.tail(worst)])
    found.changes.append(
        Changes(
            first,
            other,
            metric,
            better=rows.filter(pl.col("lost") < 0).height,
            same=rows.filter(pl.col("lost") == 0).height,
            worse=rows.filter(pl.col("lost") > 0).height,
            worst=show.drop("lost"),
            whole=whole,
            wholes=wholes.select("name", "before", "after"),
        )
    )
