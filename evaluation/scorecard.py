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
from evaluation.metrics.churn import PAPER, churn_figures, per_unit, risk_columns
from evaluation.metrics.churn_profit import Campaign
from evaluation.metrics.churn_slices import calibration_by_slice
from evaluation.metrics.critical import CLASSES, critical_words
from evaluation.metrics.english import VARIANTS, comparable
from evaluation.metrics.wer import character_errors, word_errors

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


def asr_scorecard(
    model: str,
    data_hash: str,
    rows: Sequence[Mapping[str, Any]],
    hypotheses: Sequence[str],
    seed: int,
    created_at: str,
    bundle_sha256: str = "",
    facts: Mapping[str, Any] | None = None,
    classes: Mapping[str, frozenset[str]] = CLASSES,
    variants: Mapping[str, str] = VARIANTS,
) -> Scorecard:
    """Scores transcripts against what people wrote, clustered by voice, both in `comparable` form.

    `rows` are the test manifest's (text, contact_id, role, voice, codec, start_s and, where known, queue, region, load,
    snr_db and condition), `hypotheses` one text for each. A row without a voice is a cluster with the others of its
    contact.

    Metrics: `wer`, `cer`; `substitutions`, `insertions` and `deletions` over reference words; and for each class of
    critical words `critical_<class>` (missed and made up, over said), `recall_<class>` and `precision_<class>`.
    Slices, in wer and cer, are by `role`, `codec`, `queue`, `region`, `load`, `voice`, `snr` (estimated), `length` and
    `condition`, where the rows know them. Units hold the columns of the slices, ref, hyp, and the counts behind the
    metrics.

    Raises ScorecardError when there is not one hypothesis a row, or no reference word at all.
    """
    if len(rows) != len(hypotheses):
        raise ScorecardError(
            f"model {model}: {len(hypotheses)} transcripts for {len(rows)} test rows. Decode again."
        )
    records = [
        _asr_unit(row, comparable(row["text"], variants), comparable(said, variants), classes)
        for row, said in zip(rows, hypotheses, strict=True)
    ]
    counts = [f"{part}_{name}" for name in classes for part in ("said", "written", "hits", "wrong")]
    units = pl.DataFrame(records, schema=_ASR_UNITS | dict.fromkeys(counts, pl.Int64))
    _refuse_doubles(model, units)
    if not units["words"].sum():
        raise ScorecardError(
            f"model {model}: the test set holds no reference word. Add transcripts to it."
        )
    rates = {"wer": Ratio("errors", "words"), "cer": Ratio("letter_errors", "letters")}
    ratios = rates | {
        name: Ratio(name, "words") for name in ("substitutions", "insertions", "deletions")
    }
    for name in classes:
        ratios[f"critical_{name}"] = Ratio(f"wrong_{name}", f"said_{name}")
        ratios[f"recall_{name}"] = Ratio(f"hits_{name}", f"said_{name}", lower_is_better=False)
        ratios[f"precision_{name}"] = Ratio(
            f"hits_{name}", f"written_{name}", lower_is_better=False
        )
    metrics, _ = score_units(units, ratios, (), seed)
    known = [by for by in _ASR_SLICES if units[by].null_count() < units.height]
    _, slices = score_units(units, rates, known, seed)
    return Scorecard(
        kind="asr",
        model=model,
        bundle_sha256=bundle_sha256,
        data_hash=data_hash,
        created_at=created_at,
        metrics=metrics,
        ratios=ratios,
        slices=slices,
        units=units,
        facts=dict(facts or {}),
    )


_ASR_SLICES = ("role", "codec", "queue", "region", "load", "voice", "snr", "length", "condition")
_ASR_UNITS = {
    "unit": pl.String,
    "cluster": pl.String,
    "contact_id": pl.String,
    "start_s": pl.Float64,
    "snr_db": pl.Float64,
    **dict.fromkeys(_ASR_SLICES, pl.String),
    "ref": pl.String,
    "hyp": pl.String,
    **dict.fromkeys(
        ("errors", "words", "letter_errors", "letters", "substitutions", "insertions", "deletions"),
        pl.Int64,
    ),
}


def _asr_unit(
    row: Mapping[str, Any], ref: str, hyp: str, classes: Mapping[str, frozenset[str]]
) -> dict[str, Any]:
    contact = str(row.get("contact_id") or Path(row["audio_filepath"]).stem)
    condition = row.get("condition")
    errors, letters = word_errors(ref, hyp), character_errors(ref, hyp)
    unit = {
        "unit": f"{contact}/{row.get('role') or ''}/{float(row.get('start_s') or 0.0):.2f}"
        + (f"/{condition}" if condition else ""),
        "cluster": str(row.get("voice") or contact),
        "contact_id": contact,
        "start_s": row.get("start_s"),
        "snr_db": row.get("snr_db"),
        **{
            by: row.get(by)
            for by in ("role", "codec", "queue", "region", "load", "voice", "condition")
        },
        "snr": _band(row.get("snr_db"), (10.0, 20.0, 30.0), "dB"),
        "length": _band(errors.reference, (2, 5, 10), "words"),
        "ref": ref,
        "hyp": hyp,
        "errors": errors.total,
        "words": errors.reference,
        "letter_errors": letters.total,
        "letters": letters.reference,
        "substitutions": errors.substitutions,
        "insertions": errors.insertions,
        "deletions": errors.deletions,
    }
    for name, heard in critical_words(ref, hyp, classes).items():
        unit |= {
            f"said_{name}": heard.said,
            f"written_{name}": heard.written,
            f"hits_{name}": heard.hits,
            f"wrong_{name}": heard.said + heard.written - 2 * heard.hits,
        }
    return unit


def _band(value: float | None, edges: Sequence[float], noun: str) -> str | None:
    """The band `value` lies in, in words: under 10 dB, 10 to 20 dB, from 30 dB."""
    if value is None:
        return None
    place = sum(value >= edge for edge in edges)
    if place == 0:
        return f"under {edges[0]:g} {noun}"
    if place == len(edges):
        return f"from {edges[-1]:g} {noun}"
    return f"{edges[place - 1]:g} to {edges[place]:g} {noun}"


# What churn_figures measures, and whether less of it is better; the rest has no better side.
_CHURN_DIRECTIONS = {
    "ece": True,
    "auc": False,
    "c_index": False,
    "average_precision": False,
    "lift_5": False,
    "lift_10": False,
    "lift_20": False,
    "empc": False,
}


def churn_scorecard(
    model: str,
    data_hash: str,
    frame: pl.DataFrame,
    seed: int,
    created_at: str,
    bundle_sha256: str = "",
    facts: Mapping[str, Any] | None = None,
    slice_by: Sequence[str] = (),
    campaign: Campaign = PAPER,
) -> Scorecard:
    """Scores predicted risks against what customers did, clustered by customer, sliced by columns of `frame`.

    `frame` has customer_id, as_of, event, time_days and risk_<days> (or risk). Metrics are brier_<days>,
    log_loss_<days>, auc_<days> and so on, and `brier` and `log_loss` over all horizons together. Those of losses are
    weighted as evaluation.metrics.churn says and can be paired. Facts hold calibration, on the whole and by slice, and
    how many customers `campaign` contacts.
    Raises ScorecardError when a risk is missing or no outcome is known.
    """
    names = risk_columns(frame)
    if not names:
        raise ScorecardError(
            f"model {model}: no column risk or risk_<days>. Join the predictions to their outcomes."
        )
    for name in names:
        if not frame[name].is_finite().fill_null(False).all():
            raise ScorecardError(
                f"model {model}: a customer has no {name}. Predict for every test row."
            )
    unit = pl.format("{}@{}", "customer_id", pl.col("as_of").cast(pl.String).fill_null("")).alias(
        "unit"
    )
    cluster = pl.col("customer_id").cast(pl.String).alias("cluster")
    units = frame.select(unit, cluster, "customer_id", "as_of", *slice_by)
    _refuse_doubles(model, units)
    losses = per_unit(frame).with_columns(unit)
    ratios: dict[str, Ratio] = {}
    for name in names:
        suffix = name.removeprefix("risk")
        part = losses.filter(pl.col("risk") == name).select(
            "unit",
            pl.col("weight").alias(f"weight{suffix}"),
            (pl.col("brier") * pl.col("weight")).alias(f"brier{suffix}"),
            (pl.col("log_loss") * pl.col("weight")).alias(f"log_loss{suffix}"),
            (pl.col("predicted") * pl.col("weight")).alias(
                f"expected{suffix}"
            ),  # how many should leave, and left
            (pl.col("left") * pl.col("weight")).alias(f"left{suffix}"),
        )
        units = units.join(part, on="unit", how="left", maintain_order="left")
        ratios |= {
            f"{loss}{suffix}": Ratio(f"{loss}{suffix}", f"weight{suffix}")
            for loss in ("brier", "log_loss")
        }
    units = units.with_columns(
        pl.selectors.matches("^(weight|brier|log_loss|expected|left)(_[0-9]+)?$").fill_null(0.0)
    )
    if "risk" not in names:
        units = units.with_columns(
            pl.sum_horizontal(f"{part}{name.removeprefix('risk')}" for name in names).alias(part)
            for part in ("weight", "brier", "log_loss")
        )
        ratios |= {loss: Ratio(loss, "weight") for loss in ("brier", "log_loss")}
    units = units.filter(pl.col("weight") > 0)
    if units.is_empty():
        raise ScorecardError(
            f"model {model}: no outcome of a test customer is known. Test on older dates."
        )
    metrics, slices = score_units(units, ratios, slice_by, seed)
    calibration = {}
    for name, measured in churn_figures(frame, seed, campaign=campaign).items():
        for figure, found in measured.items():
            full = f"{figure}{name.removeprefix('risk')}"
            if not math.isfinite(found.value):
                continue
            if figure in _CHURN_DIRECTIONS:
                metrics[full] = Estimate(
                    found.value, found.low, found.high, found.units, _CHURN_DIRECTIONS[figure]
                )
            else:
                calibration[full] = {"value": found.value, "low": found.low, "high": found.high}
    return Scorecard(
        kind="churn",
        model=model,
        bundle_sha256=bundle_sha256,
        data_hash=data_hash,
        created_at=created_at,
        metrics=metrics,
        ratios=ratios,
        slices=slices,
        units=units,
        facts={
            **(facts or {}),
            "calibration": calibration,
            "calibration_slices": calibration_by_slice(frame, slice_by, seed),
        },
    )


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
