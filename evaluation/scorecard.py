"""The scorecard of a model on one test set: metrics with intervals, slices, and all test units."""

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
    """A scorecard cannot be computed, read, or paired with another."""


@dataclass(frozen=True)
class Estimate:
    """A metric with its 95 % interval and the number of test units behind it.

    `low` and `high` are None where there are too few clusters for an interval.
    """

    value: float
    low: float | None
    high: float | None
    n: int
    lower_is_better: bool

    @property
    def worst(self) -> float | None:
        """The end of the interval that is worse for the model; None without an interval."""
        return self.high if self.lower_is_better else self.low


@dataclass(frozen=True)
class Ratio:
    """A metric that is one column's sum over another's.

    So it can be paired, sliced and bootstrapped.
    """

    numerator: str
    denominator: str
    lower_is_better: bool = True


@dataclass(frozen=True)
class Scorecard:
    """The results of one model on one test set.

    `units` has a row for each test unit, with at least `unit` (its id), `cluster` (voice or
    customer) and the columns that `ratios` names. A recogniser's has those of `asr_scorecard`; a
    churn model's has customer_id, as_of, and a loss and weight for each horizon. `conditions` are
    metrics on a sample of the test audio through a telephone effect, by the effect's name (the
    units behind them are a scorecard of their own). `facts` are further properties of the model:
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
        """Writes the units (Parquet, next to `path`) and then `path` (JSON) with their checksum."""
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
                "slices": {by: _to_json(values) for by, values in self.slices.items()},
                "conditions": _to_json(self.conditions),
                "facts": self.facts,
                "units": {
                    "file": table.name,
                    "sha256": file_sha256(table),
                    "rows": self.units.height,
                },
            },
        )


def load(path: Path) -> Scorecard:
    """Reads a scorecard that `Scorecard.save` wrote.

    Raises ScorecardError when a part is missing, or the units are not those it was written with.
    """
    table = path.with_suffix(".parquet")
    if not path.exists() or not table.exists():
        raise ScorecardError(
            f"scorecard {path.name}: not whole in {path.parent}. Run the evaluation again."
        )
    stored = read_json(path)
    try:
        if file_sha256(table) != stored["units"]["sha256"]:
            raise ScorecardError(
                f"scorecard {path.name}: {table.name} is not the one it was written with. "
                "Evaluate again."
            )
        return Scorecard(
            kind=stored["kind"],
            model=stored["model"],
            bundle_sha256=stored["bundle_sha256"],
            data_hash=stored["data_hash"],
            created_at=stored["created_at"],
            metrics=_estimates(stored["metrics"]),
            ratios={name: Ratio(**ratio) for name, ratio in stored["ratios"].items()},
            slices={
                by: {value: _estimates(metrics) for value, metrics in values.items()}
                for by, values in stored["slices"].items()
            },
            conditions={
                name: _estimates(metrics) for name, metrics in stored.get("conditions", {}).items()
            },
            facts=stored["facts"],
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
    *,
    seed: int,
    level: float = LEVEL,
) -> tuple[dict[str, Estimate], dict[str, dict[str, dict[str, Estimate]]]]:
    """Returns metrics over all units, and slices: column of `slice_by` → its value → metrics.

    A metric whose denominators sum to 0 is left out.
    """
    slices: dict[str, dict[str, dict[str, Estimate]]] = {}
    for by in slice_by:
        for (value,), part in units.filter(pl.col(by).is_not_null()).group_by(
            [by], maintain_order=True
        ):
            slices.setdefault(by, {})[str(value)] = _metrics(part, ratios, seed=seed, level=level)
        slices[by] = dict(sorted(slices.get(by, {}).items()))
    return _metrics(units, ratios, seed=seed, level=level), slices


def pair(first: Scorecard, second: Scorecard, metric: str) -> pl.DataFrame:
    """Returns the units of both, paired, in order of unit ids.

    Columns: unit, cluster, and numerator and denominator of `metric` for `first` (num_a, den_a) and
    `second` (num_b, den_b). Raises ScorecardError when a side lacks the metric, or the two were not
    scored on exactly the same units.
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
                # The reference text, where there is one: the same id must be the same utterance.
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
            f"{first.model} was scored on {sides[0].height} test units and {second.model} on "
            f"{sides[1].height}, {joined.height} of them the same. Evaluate both on one test set."
        )
    for name, noun in (
        ("cluster", "voices or customers"),
        ("ref", "references"),
        ("den", "weights"),
    ):
        if not (joined[f"{name}_a"] == joined[f"{name}_b"]).all():
            raise ScorecardError(
                f"{first.model} and {second.model}: test units of the same name have different "
                f"{noun}. Evaluate both on one test set."
            )
    return joined.rename({"cluster_a": "cluster"}).drop("cluster_b", "ref_a", "ref_b")


def gain(
    better: Scorecard, than: Scorecard, metric: str, *, seed: int, level: float = LEVEL
) -> Interval:
    """Returns how much better one model is than another in `metric`, with its paired interval.

    Positive where `better` is better. Raises ScorecardError as `pair` does.
    """
    return paired_difference(*_sides(better, than, metric), seed=seed, level=level)


def gain_p_value(
    better: Scorecard, than: Scorecard, metric: str, *, seed: int, at_least: float = 0.0
) -> float:
    """Returns the one-sided p-value of the gain under random swaps of the two models' clusters.

    Small where the gain is significantly more than `at_least`. See
    `evaluation.metrics.bootstrap.swapped_p`. Raises ScorecardError as `pair` does.
    """
    return swapped_p(*_sides(better, than, metric), seed=seed, at_least=at_least)


def gain_by_cluster(
    better: Scorecard, than: Scorecard, metric: str
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the gain of each cluster, summed over its units, and its weight, [clusters] each.

    The sum of the first over that of the second is the gain. Clusters without weight are left out.
    Raises ScorecardError as `pair` does.
    """
    (first, weight), (second, _), cluster = _sides(better, than, metric)
    _, member = np.unique(cluster, return_inverse=True)
    changes, weights = np.bincount(member, first - second), np.bincount(member, weight)
    return changes[weights > 0], weights[weights > 0]


def _sides(better: Scorecard, than: Scorecard, metric: str) -> tuple[Sums, Sums, np.ndarray]:
    """Returns two (numerators, denominators) whose ratios' difference is the gain, and clusters."""
    rows = pair(better, than, metric)
    first, second = gain_sides(rows, lower_is_better=better.ratios[metric].lower_is_better)
    return first, second, rows["cluster"].to_numpy()


def gain_sides(rows: pl.DataFrame, *, lower_is_better: bool) -> tuple[Sums, Sums]:
    """Returns sums of paired `rows` so that the first ratio less the second is a's gain over b."""
    of_a = (rows["num_a"].to_numpy(), rows["den_a"].to_numpy())
    of_b = (rows["num_b"].to_numpy(), rows["den_b"].to_numpy())
    return (of_b, of_a) if lower_is_better else (of_a, of_b)


def _metrics(
    units: pl.DataFrame, ratios: Mapping[str, Ratio], *, seed: int, level: float
) -> dict[str, Estimate]:
    metrics = {}
    for name, ratio in ratios.items():
        weight = units[ratio.denominator].to_numpy()
        if not weight.sum() > 0:
            continue
        interval = ratio_of_sums(
            units[ratio.numerator].to_numpy(),
            weight,
            units["cluster"].to_numpy(),
            seed=seed,
            level=level,
        )
        if not math.isfinite(interval.value):
            raise ScorecardError(f"{name} is {interval.value}: a unit was not scored.")
        metrics[name] = Estimate(
            interval.value, interval.low, interval.high, interval.units, ratio.lower_is_better
        )
    return metrics


def _to_json(metrics_of: Mapping[str, Mapping[str, Estimate]]) -> dict[str, dict[str, Any]]:
    return {
        value: {name: asdict(estimate) for name, estimate in metrics.items()}
        for value, metrics in metrics_of.items()
    }


def _estimates(stored: Mapping[str, Any]) -> dict[str, Estimate]:
    return {name: Estimate(**estimate) for name, estimate in stored.items()}


def refuse_duplicate_units(model: str, units: pl.DataFrame) -> None:
    """Raises ScorecardError when a unit id occurs more than once."""
    duplicates = units.filter(pl.col("unit").is_duplicated())
    if duplicates.height:
        raise ScorecardError(
            f"model {model}: test unit {duplicates['unit'][0]} is in the test set more than once "
            f"({duplicates.height} rows)."
        )
