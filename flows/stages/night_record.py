"""What a night leaves: its summary, points of the trends, and what its MLflow run logs."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import polars as pl

from data import artefacts
from evaluation.monitoring import panel, trends
from evaluation.monitoring.sequential import State
from evaluation.monitoring.trends import Point
from flows.stages.night_champion import Champion
from models.kinds import kind_names

if TYPE_CHECKING:
    from evaluation.scorecard import Estimate
    from flows.runtime.context import RunContext
    from models.registry.registry import Registry

_LONGEST_TAG = 400  # characters


def models_of(champions: list[Champion]) -> dict[str, Any]:
    """Returns the entry of every kind in nightly.json."""
    models: dict[str, Any] = {
        kind: {"verdict": State.NONE.value, "sentence": f"there is no {kind} champion yet"}
        for kind in kind_names()
    }
    for champion in champions:
        card, metric = champion.card, champion.kind.primary_metric
        models[champion.kind.name] = {
            "version": champion.version,
            "verdict": champion.verdict().value,
            "sentence": champion.sentence(),
            "value": card.metrics[metric].value if card and metric in card.metrics else None,
            "promoted_with": champion.promoted.get(metric, {}).get("value"),
            "tonight": {name: asdict(estimate) for name, estimate in card.metrics.items()}
            if card
            else {},
            "units": card.units.height if card else 0,
            "test_data_hash": card.data_hash if card else "",
            "truth": card.facts.get("truth", "") if card else "",
            "compared": {name: asdict(found) for name, found in champion.compared.items()},
            "estimates": {
                name: asdict(estimate) for name, estimate in champion.observed.estimates.items()
            },
            "says": champion.observed.says,
            "drift": panel.as_rows(champion.drift) if champion.drift else None,
        }
    return models


def points(champion: Champion, day: str) -> list[Point]:
    """Returns the trend points of a champion: figures, slices, estimates, measures and alarms."""
    kind, version, points = champion.kind.name, champion.version, []

    def figure(name: str, estimate: Estimate, by: str = "", value: str = "") -> Point:
        return Point(
            day,
            kind,
            name,
            estimate.value,
            estimate.low,
            estimate.high,
            estimate.n,
            trends.TRUTH,
            version,
            by,
            value,
        )

    if champion.card:
        points += [figure(name, one) for name, one in champion.card.metrics.items()]
        points += [
            figure(name, one, by, value)
            for by, values in champion.card.slices.items()
            if by != "voice"
            for value, metrics in values.items()
            for name, one in metrics.items()
        ]
    for name, estimate in champion.observed.estimates.items():
        source = trends.TRUTH if estimate.source == "truth" else trends.ESTIMATE
        points.append(
            Point(
                day,
                kind,
                name,
                estimate.value,
                estimate.low,
                estimate.high,
                estimate.calls,
                source,
                version,
            )
        )
    points += _measures(champion, day)
    for alarm in champion.drift.alarms if champion.drift else ():
        points.append(
            Point(
                day,
                kind,
                alarm.metric,
                alarm.value,
                version=version,
                event=trends.ALARM,
                slice=alarm.category,
                says=alarm.sentence,
            )
        )
    points.append(
        Point(
            day,
            kind,
            champion.kind.primary_metric,
            version=version,
            event=trends.VERDICT,
            slice=champion.verdict().value,
            says=champion.sentence(),
        )
    )
    return points


def _measures(champion: Champion, day: str) -> list[Point]:
    """Returns tonight's mean of each measured number, and the share of each category."""
    table, points = champion.observed.table, []
    kind, version = champion.kind.name, champion.version
    for name in table.columns:
        known = table[name].drop_nulls()
        if name in panel.KEYS or known.is_empty() or name.startswith(panel.FEATURE):
            continue
        if known.dtype.is_numeric():
            values = known.cast(pl.Float64)
            mean, spread = float(values.mean() or 0.0), values.std()  # type: ignore[arg-type]
            radius = 1.96 * float(spread) / known.len() ** 0.5 if spread is not None else None  # type: ignore[arg-type]
            low, high = (None, None) if radius is None else (mean - radius, mean + radius)
            points.append(Point(day, kind, name, mean, low, high, known.len(), version=version))
            continue
        for category, count in known.value_counts().sort(name).iter_rows():
            points.append(
                Point(
                    day,
                    kind,
                    name,
                    count / known.len(),
                    n=known.len(),
                    version=version,
                    by=name,
                    slice=str(category),
                )
            )
    return points


def matured_points(matured: list[dict[str, Any]], day: str) -> list[Point]:
    points = []
    for row in matured:
        for name, ends in (row["metrics"] or {}).items():
            points.append(
                Point(
                    day,
                    "churn",
                    f"matured_{name}_{row['horizon_days']}",
                    ends["value"],
                    ends["low"],
                    ends["high"],
                    row["matured"],
                    trends.TRUTH,
                    by="model",
                    slice=row["model"],
                )
            )
    return points


def ledger_points(context: RunContext, registry: Registry, day: str) -> list[Point]:
    """Returns the promotions and rollbacks since the last night that kept a trend."""
    folder = context.path(artefacts.TRENDS)
    earlier = max((path.stem for path in folder.glob("*.parquet") if path.stem < day), default="")
    return [
        Point(
            day,
            entry.name,
            "champion",
            version=entry.version,
            event=entry.action,
            says=f"v{entry.version} is champion since {entry.at[:10]}, by {entry.actor}.",
        )
        for kind in kind_names()
        for entry in registry.ledger(kind)
        if entry.action in trends.CHAMPION_MOVES and earlier < entry.at[:10] <= day
    ]


def metrics(champions: list[Champion], matured: list[dict[str, Any]]) -> dict[str, float]:
    """Returns what the MLflow run logs."""
    logged: dict[str, float] = {}

    def add(name: str, value: float | None, low: float | None, high: float | None) -> None:
        ends = {"": value, "_low": low, "_high": high}
        logged.update({f"{name}{end}": one for end, one in ends.items() if one is not None})

    for champion in champions:
        kind = champion.kind.name
        for name, estimate in champion.card.metrics.items() if champion.card else ():
            add(f"{kind}_{name}", estimate.value, estimate.low, estimate.high)
        for name, guess in champion.observed.estimates.items():
            add(f"{kind}_{name}", guess.value, guess.low, guess.high)
        logged[f"{kind}_alarms"] = float(len(champion.drift.alarms)) if champion.drift else 0.0
    for row in matured:
        where = f"{row['model'].replace(' ', '_')}_matured_{row['horizon_days']}"
        for name, ends in (row["metrics"] or {}).items():
            add(f"{where}_{name}", ends["value"], ends["low"], ends["high"])
    return logged


def tags(champions: list[Champion]) -> dict[str, str]:
    """Returns the tags of the MLflow run: versions, verdicts, and the data that was scored."""
    tags = {}
    hashes: Mapping[str, str] = {
        champion.kind.name: champion.card.data_hash for champion in champions if champion.card
    }
    for champion in champions:
        kind = champion.kind.name
        tags[f"{kind}_version"] = str(champion.version)
        tags[f"{kind}_verdict"] = champion.verdict().value
        tags[f"{kind}_says"] = champion.sentence()[:_LONGEST_TAG]
        tags[f"{kind}_test_data_hash"] = hashes.get(kind, "nothing was scored")
    together = "".join(f"{kind}:{value};" for kind, value in sorted(hashes.items()))
    tags["test_data_hash"] = (
        hashlib.sha256(together.encode()).hexdigest() if hashes else "nothing was scored"
    )
    return tags
