"""Compares runs: parameters that differ, metrics with intervals, slices, and units that changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from evaluation.metrics.bootstrap import Interval
from evaluation.scorecard import Estimate, Scorecard, ScorecardError, gain, pair
from evaluation.slices import SliceGain, slice_gains
from models.kinds import kind_of

SHORT = 12  # how many characters of an id or hash are shown


class CompareError(ValueError):
    """These runs cannot be compared."""


class DifferentDataError(CompareError):
    """The runs were tested on different data."""


@dataclass(frozen=True)
class RunView:
    """What a comparison needs of a run.

    With a scorecard the scorecard's data hash counts, and test units can be paired.
    """

    run_id: str
    params: Mapping[str, Any]
    metrics: Mapping[str, float]
    data_hash: str = ""
    scorecard: Scorecard | None = None
    name: str = ""
    # What the model was trained on and with: data, code.
    learned_from: Mapping[str, str] = field(default_factory=dict)
    # Learning curves: metric → (step, value).
    curves: Mapping[str, Sequence[tuple[int, float]]] = field(default_factory=dict)
    scored_on: str = "test"  # the part of the data that the figures are about

    @property
    def label(self) -> str:
        """The run's name, or the beginning of its id."""
        return self.name or self.run_id[:SHORT]

    @property
    def tested_on(self) -> str:
        """Hash of the test data."""
        return self.scorecard.data_hash if self.scorecard else self.data_hash


@dataclass(frozen=True)
class Difference:
    """How much better `other` is than `first` in one metric, with the paired interval.

    Positive: better.
    """

    first: str
    other: str
    metric: str
    gain: Interval

    @property
    def is_significant(self) -> bool:
        """Whether the whole interval lies on one side of 0."""
        low, high = self.gain.low, self.gain.high
        return low is not None and high is not None and (low > 0 or high < 0)


@dataclass(frozen=True)
class Changes:
    """Test units that `other` does better, equally and worse than `first`, and the worst losses.

    `worst` has unit, before and after (errors, or weighted loss), and for calls contact_id, role,
    start_s, ref, hyp_before and hyp_after: what to listen to. `whole` is a call or a customer;
    `wholes` has a row for each of those that changed (`name`, before, after), the greatest loss
    first.
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
    """How much better `other` is than `first` within one slice."""

    first: str
    other: str
    metric: str
    slice_gain: SliceGain


@dataclass(frozen=True)
class Comparison:
    """The result of comparing runs.

    Rows of `params` and `metrics` have one entry for each run; the first run is the baseline.
    """

    runs: Sequence[RunView]
    params: list[tuple[str, list[str | None]]]
    metrics: list[tuple[str, list[Estimate | None]]]
    differences: list[Difference] = field(default_factory=list)
    changes: list[Changes] = field(default_factory=list)
    slices: list[SliceChange] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def scored_on(self) -> str:
        """The part of the data that the figures are about: test or validation."""
        return self.runs[0].scored_on

    @property
    def curves(self) -> list[tuple[str, list[Sequence[tuple[int, float]]]]]:
        """Learning curves that at least one run has: metric, and one curve a run."""
        names = dict.fromkeys(name for run in self.runs for name in run.curves)
        return [(name, [run.curves.get(name, ()) for run in self.runs]) for name in names]

    @property
    def same_data(self) -> bool:
        """Whether all runs were tested on the same, known data."""
        return len({run.tested_on for run in self.runs}) == 1 and bool(self.runs[0].tested_on)


def compare(
    runs: Sequence[RunView], *, across_data: bool = False, seed: int = 0, worst: int = 10
) -> Comparison:
    """Compares every run with the first; `worst` is how many lost test units to list for each.

    Raises DifferentDataError naming the hashes when the runs were tested on different (or unknown)
    data, unless `across_data`: then they are shown side by side, marked, and never subtracted.
    Raises CompareError for fewer than two runs and for models of different kinds.
    """
    if len(runs) < 2:
        raise CompareError(f"{len(runs)} run to compare. Name at least two.")
    kinds = {run.scorecard.kind for run in runs if run.scorecard}
    if len(kinds) > 1:
        raise CompareError(
            f"models of different kinds ({', '.join(sorted(kinds))}) have no metric in common."
        )
    comparison = Comparison(runs, _differing_params(runs), _all_metrics(runs))
    if not comparison.same_data:
        on = "; ".join(f"{run.label} on {run.tested_on[:SHORT] or 'unknown data'}" for run in runs)
        if not across_data:
            raise DifferentDataError(
                f"tested on different data: {on}. Score both on one test set, or pass "
                "--across-data."
            )
        comparison.notes.append(
            f"Tested on different data: {on}. Their figures cannot be subtracted from one another."
        )
    first = runs[0]
    for other in runs[1:]:
        if first.scorecard is None or other.scorecard is None:
            comparison.notes.append(
                f"{first.label} and {other.label}: no scorecard on both sides, so nothing to pair."
            )
        elif first.tested_on == other.tested_on and first.tested_on:
            try:
                _add_pair(comparison, first, other, seed=seed, worst=worst)
            except ScorecardError as error:
                comparison.notes.append(str(error))
    return comparison


def _differing_params(runs: Sequence[RunView]) -> list[tuple[str, list[str | None]]]:
    """Returns the parameters whose values differ, with the value of each run (None: not set)."""
    names = sorted({name for run in runs for name in run.params})
    rows = [
        (name, [str(run.params[name]) if name in run.params else None for run in runs])
        for name in names
    ]
    return [(name, values) for name, values in rows if len(set(values)) > 1]


def _all_metrics(runs: Sequence[RunView]) -> list[tuple[str, list[Estimate | None]]]:
    """Returns every metric of any run, with the estimate of each run.

    Where a scorecard measured a metric, what the run logged under that name is the same figure
    without an interval.
    """
    scored = [run.scorecard.metrics if run.scorecard else {} for run in runs]
    names = sorted(
        {name for run, card in zip(runs, scored, strict=True) for name in (*run.metrics, *card)}
    )

    def estimate(run: RunView, card: Mapping[str, Estimate], name: str) -> Estimate | None:
        if name in card:
            return card[name]
        return (
            Estimate(float(run.metrics[name]), None, None, 0, False)
            if name in run.metrics
            else None
        )

    return [
        (name, [estimate(run, card, name) for run, card in zip(runs, scored, strict=True)])
        for name in names
    ]


def _add_pair(
    comparison: Comparison, first: RunView, other: RunView, *, seed: int, worst: int
) -> None:
    """Adds differences, slices and changed units of two runs with scorecards on the same data."""
    old, new = first.scorecard, other.scorecard
    if old is None or new is None:
        return
    metric = kind_of(old.kind).primary_metric
    paired = pair(new, old, metric)
    for name in sorted(set(old.ratios) & set(new.ratios) & set(old.metrics) & set(new.metrics)):
        try:
            difference = gain(new, old, name, seed=seed)
        except ScorecardError:
            continue  # weighted by what the model itself wrote (precision), so there are no pairs
        comparison.differences.append(Difference(first.label, other.label, name, difference))
    comparison.slices.extend(
        SliceChange(first.label, other.label, metric, slice_gain)
        for slice_gain in slice_gains(new, old, metric, seed=seed)
    )
    loss = pl.col("after") - pl.col("before")
    if not old.ratios[metric].lower_is_better:
        loss = -loss
    rows = paired.select(
        "unit", pl.col("num_b").alias("before"), pl.col("num_a").alias("after")
    ).with_columns(loss.alias("lost"))
    comparison.changes.append(
        Changes(
            first.label,
            other.label,
            metric,
            better=rows.filter(pl.col("lost") < 0).height,
            same=rows.filter(pl.col("lost") == 0).height,
            worse=rows.filter(pl.col("lost") > 0).height,
            worst=_worst_units(rows, old, new, worst=worst),
            whole=kind_of(old.kind).unit_title,
            wholes=_changed_wholes(rows, old, worst=worst),
        )
    )


def _worst_units(rows: pl.DataFrame, old: Scorecard, new: Scorecard, *, worst: int) -> pl.DataFrame:
    """Returns the units that lost most (unit, before, after), for calls with their texts."""
    units = (
        rows.filter(pl.col("lost") > 0).sort(["lost", "unit"], descending=[True, False]).head(worst)
    )
    if "hyp" in old.units.columns:
        before = old.units.select(
            "unit", "contact_id", "role", "start_s", "ref", pl.col("hyp").alias("hyp_before")
        )
        after = new.units.select("unit", pl.col("hyp").alias("hyp_after"))
        units = units.join(before, on="unit", maintain_order="left").join(
            after, on="unit", maintain_order="left"
        )
    return units.drop("lost")


def _changed_wholes(rows: pl.DataFrame, old: Scorecard, *, worst: int) -> pl.DataFrame:
    """Returns the calls (or customers) that lost and won most: name, before, after."""
    key = kind_of(old.kind).unit
    wholes = (
        rows.join(old.units.select("unit", pl.col(key).cast(pl.String).alias("name")), on="unit")
        .group_by("name")
        .agg(pl.col("before", "after", "lost").sum())
        .filter(pl.col("lost") != 0)
        .sort("lost", "name", descending=[True, False])
    )
    if wholes.height > 2 * worst:
        wholes = pl.concat([wholes.head(worst), wholes.tail(worst)])
    return wholes.select("name", "before", "after")
