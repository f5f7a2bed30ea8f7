"""The stage that watches a new champion: one that proves worse than the one before is rolled back."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from data import artefacts
from data.files import read_json, write_json, write_table
from data.progress import Progress
from evaluation import scorecard
from evaluation.monitoring import sequential
from evaluation.monitoring.sequential import Comparison, Figure, State
from evaluation.scorecard import Scorecard
from flows.candidate.active_model import write_active_model
from flows.candidate.kind_stages import stages_of
from flows.runtime import notifications
from flows.stages.nightly import watched_metrics
from models.kinds import CHURN, kinds
from models.registry.ledger import Action, Entry, replay

if TYPE_CHECKING:
    from flows.runtime.context import RunContext
    from models.kinds import ModelKind
    from models.registry.registry import Registry

ACTOR = "keepline watch"  # who rolls back, in the ledger


@dataclass(frozen=True)
class _Release:
    """A promotion that is watched: the new champion and the one before it."""

    kind: ModelKind
    entry: Entry
    previous: Entry

    @property
    def name(self) -> str:
        return f"{self.kind.name} v{self.entry.version}"


def watch(context: RunContext, progress: Progress) -> dict[str, Any]:
    """Compares each new champion with the one before it, on contacts since its promotion.

    Both are scored on the same contacts, night by night, and compared at a level that looking every
    night keeps (`monitoring.rollback_level`). Proven worse: the registry rolls back, once, and
    people are told, once. Unproven says so. Writes watch.json and returns its content. Runs after
    the nightly evaluation, whose scorecards it takes.
    """
    registry = context.registry(tells=False)  # a rollback is told below, with its reason
    path = context.path(artefacts.WATCH)
    before = read_json(path)["models"] if path.exists() else {}
    models: dict[str, Any] = {}
    for kind in kinds():
        entries = [
            entry
            for entry in registry.ledger(kind.name)
            if entry.action in (Action.PROMOTE, Action.ROLLBACK)
        ]
        models[kind.name] = _watch_kind(
            context, registry, kind, entries, before.get(kind.name, {}), progress
        )
    summary = {"day": context.now().date().isoformat(), "models": models}
    write_json(path, summary)
    for name, model in models.items():
        if model["state"] == "rolled back" and not model["told"]:
            title = f"the {name} champion was rolled back"
            notifications.notify(context.settings, title, model["sentence"], context.now())
            model["told"] = True
            write_json(path, summary)
    return summary


def _watch_kind(
    context: RunContext,
    registry: Registry,
    kind: ModelKind,
    entries: list[Entry],
    before: dict[str, Any],
    progress: Progress,
) -> dict[str, Any]:
    """Returns what became of the last promotion of a kind."""
    last = entries[-1] if entries else None
    if last is not None and last.action == Action.ROLLBACK and last.actor == ACTOR:
        return _rolled_back(last, before)
    champions = replay(entries).champions
    if last is None or last.action != Action.PROMOTE or len(champions) < 2:
        return {"state": "nothing to watch", "told": True, "sentence": "No new champion."}
    release = _Release(kind, last, champions[-2])
    until = datetime.fromisoformat(last.at) + timedelta(days=_days(context, kind))
    if context.now() > until:
        return before if before.get("version") == last.version else _over(release)
    _score_previous(context, registry, release, progress)
    compared = compare_versions(context, release.kind, *_folder_and_margin(context, release))
    state = sequential.overall([found.state for found in compared.values()])
    found = {
        "state": state.value,
        "version": last.version,
        "previous": release.previous.version,
        "until": until.date().isoformat(),
        "told": True,
        "compared": {name: asdict(comparison) for name, comparison in compared.items()},
        "sentence": _sentence(release, compared, state),
    }
    if state is not State.WORSE:
        return found
    # Kept before the ledger moves: whoever reads the entry finds what it rests on.
    write_json(_folder(context, release) / "rollback.json", found)
    entry = registry.rollback(kind.name, ACTOR, context.now(), expected=last.version)
    if context.path(artefacts.DECIDE.of(kind.name)).exists():
        write_active_model(context, kind.name)
    return _rolled_back(entry, {}) | {
        "compared": found["compared"],
        "sentence": f"{found['sentence']} v{entry.version} is champion again.",
    }


def _days(context: RunContext, kind: ModelKind) -> int:
    """Returns how long a promotion is watched; outcomes have to pass a horizon first."""
    days = context.params.monitoring.watch_days
    return days + (min(context.params.churn.horizons_days) if kind is CHURN else 0)


def _rolled_back(entry: Entry, before: dict[str, Any]) -> dict[str, Any]:
    """Returns the entry of a rollback of ours; one that was killed before it told is told now."""
    if before.get("state") == "rolled back" and before.get("seq") == entry.seq:
        return before
    return {
        "state": "rolled back",
        "seq": entry.seq,
        "version": entry.version,
        "from": entry.previous,
        "at": entry.at,
        "told": False,
        "sentence": (
            f"{entry.name} v{entry.previous} proved worse than v{entry.version}, which is champion "
            "again."
        ),
    }


def _over(release: _Release) -> dict[str, Any]:
    return {
        "state": State.UNPROVEN.value,
        "version": release.entry.version,
        "previous": release.previous.version,
        "told": True,
        "sentence": f"{release.name} is no longer watched; nothing was proven.",
    }


def _folder(context: RunContext, release: _Release) -> Path:
    name = f"v{release.entry.version}-after-v{release.previous.version}"
    return context.path(artefacts.MONITORING.within(release.kind.name, name))


def _folder_and_margin(context: RunContext, release: _Release) -> tuple[Path, float]:
    return _folder(context, release), context.params.monitoring.margin


def _score_previous(
    context: RunContext, registry: Registry, release: _Release, progress: Progress
) -> None:
    """Scores the champion before on the contacts of tonight's scorecard, and keeps the pairs."""
    kind, day = release.kind, context.now().date().isoformat()
    bundle = registry.fetch(kind.name, release.previous.version, context.path(artefacts.FETCHED))
    name = f"{kind.name} v{release.previous.version}"
    path = context.path(artefacts.NIGHTLY_SCORECARDS.within(day, f"{kind.name}.json"))
    new = scorecard.load(path) if path.exists() else None
    if new is not None and new.model != release.name:
        new = None  # of the champion before, from a night before the promotion
    contacts = (
        new.units["contact_id"].unique().sort().to_list()
        if new is not None and "contact_id" in new.units.columns
        else []
    )
    # Also without a scorecard of tonight: predictions of a version must be there to mature.
    old = stages_of(kind.name).evaluate_new(context, bundle, name, contacts, progress)
    if new is None or old is None:
        return
    write_table(_folder(context, release) / f"{day}.parquet", paired_units(kind, new, old))


def paired_units(kind: ModelKind, new: Scorecard, old: Scorecard) -> pl.DataFrame:
    """Returns the units both were scored on: unit, cluster, metric, sums of new and of old.

    Those whose customer or voice the new one learned from are left out, where that is known.
    """
    parts = []
    for name in watched_metrics(kind, new):
        if name not in old.ratios:
            continue
        ratio = new.ratios[name]
        units = new.units
        if "familiar" in units.columns:
            units = units.filter(~pl.col("familiar"))
        columns = [
            pl.col(ratio.numerator).cast(pl.Float64).alias("num"),
            pl.col(ratio.denominator).cast(pl.Float64).alias("den"),
        ]
        both = units.select("unit", "cluster", *columns).join(
            old.units.select("unit", *columns), on="unit", suffix="_old"
        )
        both = both.filter((pl.col("den") > 0) & (pl.col("den_old") > 0))
        parts.append(both.with_columns(pl.lit(name).alias("metric")))
    return pl.concat(parts) if parts else pl.DataFrame()


def compare_versions(
    context: RunContext, kind: ModelKind, folder: Path, margin: float
) -> dict[str, Comparison]:
    """Returns how the new champion compares with the one before, by metric, over all nights."""
    tables = [pl.read_parquet(file) for file in sorted(folder.glob("*.parquet"))]
    tables = [table for table in tables if not table.is_empty()]
    if not tables:
        return {}
    units = pl.concat(tables).unique(["unit", "metric"], keep="last", maintain_order=True)
    params, compared = context.params.monitoring, {}
    names = units["metric"].unique().sort().to_list()
    for name in names:
        part = units.filter(pl.col("metric") == name)
        num, den, old_num, old_den = (
            part[column].to_numpy() for column in ("num", "den", "num_old", "den_old")
        )
        apart = sequential.paired_figure((num, den), (old_num, old_den), part["cluster"].to_numpy())
        before = float(np.sum(old_num) / np.sum(old_den))
        compared[name] = sequential.compare(
            apart,
            Figure(0.0, 0.0, 0),
            margin=max(margin * abs(before), 1e-9),
            level=params.rollback_level / len(names),
            min_clusters=params.min_clusters,
            lower_is_better=kind.lower_is_better,
        )
    return compared


def _sentence(release: _Release, compared: dict[str, Comparison], state: State) -> str:
    """Returns how the comparison stands, for people."""
    before = f"v{release.previous.version}"
    if not compared:
        return (
            f"{release.name} against {before}: nothing with known truth came in since the "
            "promotion, so nothing is proven."
        )
    said = {
        State.WORSE: f"worse than {before}",
        State.HOLDS: f"no worse than {before}",
        State.UNPROVEN: f"unproven against {before}: too little evidence either way",
    }[state]
    figures = "; ".join(
        f"{name} differs by {found.difference:+.4f}"
        + ("" if found.low is None else f" [{found.low:+.4f}, {found.high:+.4f}]")
        + f" over {found.clusters} {release.kind.cluster_title}"
        for name, found in compared.items()
        if found.difference is not None
    )
    return f"{release.name} is {said} ({figures})."
