"""What a model scored on one test set: metrics with intervals, slices, and every test unit it was scored on."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from data.files import file_sha256, read_json, write_json, write_table
from evaluation.metrics.bootstrap import (
    LEVEL,
    Interval,
    paired_difference,
    ratio_of_sums,
    swapped_p,
)

Sums = tuple[np.ndarray, np.ndarray]  # numerators and denominators, one a unit


class ScorecardError(ValueError):
    """A scorecard cannot be made or read."""


@dataclass(frozen=True)
class Estimate:
    """A metric with the ends of its 95 % interval (None: too few clusters for one) and the units behind it."""

    value: float
    low: float | None
    high: float | None
    n: int
    lower_is_better: bool

    @property
    def worst(self) -> float | None:
        """The end of the interval that is worst for the model."""
        return self.high if self.lower_is_better else self.low


@dataclass(frozen=True)
class Ratio:
    """A metric that is one column's sum over another's, so that it can be paired, sliced and bootstrapped."""

    numerator: str
    denominator: str
    lower_is_better: bool = True


@dataclass(frozen=True)
class Scorecard:
    """One model on one test set.

    `units` has a row a test unit with at least `unit` (its id) and `cluster` (voice or customer), and the columns
    `ratios` names. asr adds what `asr_scorecard` says; churn adds customer_id, as_of and a loss and weight a horizon.
    `conditions` are metrics on a sample of the test audio sent through a telephone effect, by the effect's name (an
    asr model's units behind them are a scorecard of their own). `facts` are what else is known of the model:
    parameters, size_bytes, latency_s.
    """

    kind: str
    model: str
    data_hash: str
    created_at: str
    metrics: dict[str, Estimate]
    ratios: dict[str, Ratio]
    units: pl.DataFrame
    slices: dict[str, dict[str, dict[str, Estimate]]] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    bundle_sha256: str = ""
    conditions: dict[str, dict[str, Estimate]] = field(default_factory=dict)

    def save(self, path: Path) -> None:
        """Writes `path` (JSON) and the units beside it (Parquet); the JSON, written last, names their checksum."""
        table = path.with_suffix(".parquet")
        write_table(table, self.units)
        write_json(
            path,
            {
                "kind": self.kind,
                "model": self.model,
                "bundle_sha256": self.bundle_sha256,
                "data_hash": self.data_hash,
                "created_at": self.created_at,
                "metrics": {name: asdict(estimate) for name, estimate in self.metrics.items()},
                "ratios": {name: asdict(ratio) for name, ratio in self.ratios.items()},
                "slices": {by: _plain(values) for by, values in self.slices.items()},
                "conditions": _plain(self.conditions),
                "facts": self.facts,
                "units": {
                    "file": table.name,
                    "sha256": file_sha256(table),
                    "rows": self.units.height,
                },
            },
        )


def load(path: Path) -> Scorecard:
    """Reads what `Scorecard.save` wrote. Raises ScorecardError when a part is missing or the two do not fit."""
    table = path.with_suffix(".parquet")
    if not path.exists() or not table.exists():
        raise ScorecardError(
            f"scorecard {path.name}: not whole in {path.parent}. Run the evaluation again."
        )
    said = read_json(path)
    try:
        if file_sha256(table) != said["units"]["sha256"]:
            raise ScorecardError(
                f"scorecard {path.name}: {table.name} is not the one it was written with. Evaluate again."
            )
        return Scorecard(
            kind=said["kind"],
            model=said["model"],
            bundle_sha256=said["bundle_sha256"],
            data_hash=said["data_hash"],
            created_at=said["created_at"],
            metrics=_estimates(said["metrics"]),
            ratios={name: Ratio(**ratio) for name, ratio in said["ratios"].items()},
            slices={
                by: {value: _estimates(metrics) for value, metrics in values.items()}
                for by, values in said["slices"].items()
            },
            conditions={
                name: _estimates(metrics) for name, metrics in said.get("conditions", {}).items()
            },
            facts=said["facts"],
            units=pl.read_parquet(table),
        )
    except (KeyError, TypeError) as error:
        raise ScorecardError(
            f"scorecard {path.name}: {error} is missing or unknown. Evaluate again."
        ) from error


def score_units(
    units: pl.DataFrame,
    ratios: Mapping[str, Ratio],
    slice_by: Sequence[str],
    seed: int,
    level: float = LEVEL,
) -> tuple[dict[str, Estimate], dict[str, dict[str, dict[str, Estimate]]]]:
    """Metrics over all units and within each value of the columns `slice_by`; a metric without weight is left out."""
    slices: dict[str, dict[str, dict[str, Estimate]]] = {}
    for by in slice_by:
        for (value,), part in units.filter(pl.col(by).is_not_null()).group_by(
            [by], maintain_order=True
        ):
            slices.setdefault(by, {})[str(value)] = _metrics(part, ratios, seed, level)
        slices[by] = dict(sorted(slices.get(by, {}).items()))
    return _metrics(units, ratios, seed, level), slices


def pair(first: Scorecard, second: Scorecard, metric: str) -> pl.DataFrame:
    """The units both were scored on: unit, cluster, `num_a`, `den_a`, `num_b`, `den_b`, in the order of unit ids.

    Raises ScorecardError when a side lacks the metric, or the two were not scored on exactly the same units.
    """
    sides = []
    for letter, card in (("a", first), ("b", second)):
        ratio = card.ratios.get(metric)
        if ratio is None:
            raise ScorecardError(
                f"model {card.model}: {metric} was not measured a unit. Evaluate it again."
            )
        sides.append(
            card.units.select(
                "unit",
                pl.col("cluster").alias(f"cluster_{letter}"),
                # What was said, where there is such a column: the same id must be the same question.
                (pl.col("ref") if "ref" in card.units.columns else pl.lit("")).alias(
                    f"ref_{letter}"
                ),
                pl.col(ratio.numerator).cast(pl.Float64).alias(f"num_{letter}"),
                pl.col(ratio.denominator).cast(pl.Float64).alias(f"den_{letter}"),
            )
        )
    joined = sides[0].join(sides[1], on="unit", how="inner").sort("unit")
    if not sides[0].height == sides[1].height == joined.height:
        raise ScorecardError(
            f"{first.model} was scored on {sides[0].height} test units and {second.model} on {sides[1].height}, "
            f"{joined.height} of them the same. Evaluate both on one test set."
        )
    for name, noun in (
        ("cluster", "voices or customers"),
        ("ref", "references"),
        ("den", "weights"),
    ):
        if not (joined[f"{name}_a"] == joined[f"{name}_b"]).all():
            raise ScorecardError(
                f"{first.model} and {second.model}: test units of the same name have different {noun}. "
                "Evaluate both on one test set."
            )
    return joined.rename({"cluster_a": "cluster"}).drop("cluster_b", "ref_a", "ref_b")


def gain(
    better: Scorecard, than: Scorecard, metric: str, seed: int, level: float = LEVEL
) -> Interval:
    """How much better `better` is `than` the other in `metric`, positive for a gain, with its paired interval."""
    return paired_difference(*_sides(better, than, metric), seed, level)


def chance(better: Scorecard, than: Scorecard, metric: str, seed: int) -> float:
    """How probable so large a gain is if it is all the same which of the two is which."""
    return swapped_p(*_sides(better, than, metric), seed)


def _sides(better: Scorecard, than: Scorecard, metric: str) -> tuple[Sums, Sums, np.ndarray]:
    """(numerators, denominators) of both and the clusters; the first less the second is the gain."""
    rows = pair(better, than, metric)
    ours = (rows["num_a"].to_numpy(), rows["den_a"].to_numpy())
    theirs = (rows["num_b"].to_numpy(), rows["den_b"].to_numpy())
    first, second = (theirs, ours) if better.ratios[metric].lower_is_better else (ours, theirs)
    return first, second, rows["cluster"].to_numpy()


def _metrics(
    units: pl.DataFrame, ratios: Mapping[str, Ratio], seed: int, level: float
) -> dict[str, Estimate]:
    found = {}
    for name, ratio in ratios.items():
        weight = units[ratio.denominator].to_numpy()
        if not weight.sum() > 0:
            continue
        interval = ratio_of_sums(
            units[ratio.numerator].to_numpy(), weight, units["cluster"].to_numpy(), seed, level
        )
        if not math.isfinite(interval.value):
            raise ScorecardError(f"{name} is {interval.value}: a unit was not scored.")
        found[name] = Estimate(
            interval.value, interval.low, interval.high, interval.units, ratio.lower_is_better
        )
    return found


def _plain(metrics_of: Mapping[str, Mapping[str, Estimate]]) -> dict[str, dict[str, Any]]:
    return {
        value: {name: asdict(estimate) for name, estimate in metrics.items()}
        for value, metrics in metrics_of.items()
    }


def _estimates(said: Mapping[str, Any]) -> dict[str, Estimate]:
    return {name: Estimate(**estimate) for name, estimate in said.items()}


def _refuse_doubles(model: str, units: pl.DataFrame) -> None:
    doubled = units.filter(pl.col("unit").is_duplicated())
    if doubled.height:
        raise ScorecardError(
            f"model {model}: test unit {doubled['unit'][0]} is in the test set more than once ({doubled.height} rows)."
        )
