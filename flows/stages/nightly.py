"""The stage that evaluates the champions on what came in since the last night."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from data import artefacts
from data.files import read_json, read_tables, write_json, write_table
from data.progress import Progress
from evaluation.churn.matured import matured_scores
from evaluation.monitoring import causes, panel, sequential, trends
from evaluation.monitoring.observed import Observed
from evaluation.monitoring.panel import PanelResult, judge_panel
from evaluation.monitoring.sequential import Comparison, State
from evaluation.monitoring.trends import Point
from flows.candidate.kind_stages import stages_of
from flows.runtime import heartbeats
from flows.stages import night_log
from flows.stages.night_log import Night
from models.kinds import kind_names, kinds

if TYPE_CHECKING:
    from evaluation.scorecard import Estimate, Scorecard
    from flows.runtime.context import RunContext
    from models.kinds import ModelKind
    from models.registry.bundle import Bundle
    from models.registry.registry import Registry

CAUSES = artefacts.MONITORING.within("causes.json")
WORSE = "worse than when promoted"  # stands among the metrics of a cause
_REFERENCE_YEARS = 1  # no reference reaches farther back
_LONGEST_LINE = 400


@dataclass
class _Champion:
    """A champion and what the night found out about it."""

    kind: ModelKind
    version: int
    bundle: Bundle
    folder: Path  # what nights keep of this version
    card: Scorecard | None = None
    observed: Observed = field(default_factory=Observed)
    drift: PanelResult | None = None
    compared: dict[str, Comparison] = field(default_factory=dict)
    promoted: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return f"{self.kind.name} v{self.version}"


def nightly(context: RunContext, progress: Progress) -> dict[str, Any]:
    """Writes nightly.json, with one MLflow run a day and site, and returns its content.

    Each champion is scored on the contacts whose truth no earlier night knew, compared with the
    figure it was promoted with over all its nights, and what came in is held against its reference
    period. `retrain` is true in the night that finds a new cause for it; `event` is what to emit.
    A kind without a champion gets the verdict none. The same night repeated changes nothing else.
    """
    from training.tracking import start_or_resume

    registry, day = context.registry(), context.now().date().isoformat()
    champions = list(_champions(context, registry))
    night = night_log.open_night(context, kind_names(), _promoted_on(registry, champions))
    version = _dataset(context)
    site = _site(context)
    run = start_or_resume(
        context.settings.tracking_uri,
        "keepline-nightly",
        f"nightly {day}",
        tags={
            "git_commit": context.git_commit,
            "dvc_hash": version.get("dvc_hash", "unknown"),
            "day": day,
            "site": site,
        },
        reuse_finished=True,
        artifact_root=context.settings.artifact_root,
    )
    uri = context.settings.tracking_uri
    with (
        heartbeats.heartbeat(context.store, "run", run.run_id, f"nightly {day}", uri),
        run,
    ):
        if version:
            run.log_input(version, "calls and customers", "nightly evaluation")
        for champion in champions:
            night = _watch_champion(context, champion, night, progress)
        matured = _matured(context)
        request = _request(context, champions, site)
        points = [
            *(point for champion in champions for point in _points(champion, day)),
            *_matured_points(matured, day),
            *_ledger_points(context, registry, day),
        ]
        trends.write_day(context.path(artefacts.TRENDS), day, points)
        run.log_metrics(_metrics(champions, matured))
        run.set_tags(_tags(champions))
    summary = {
        "day": day,
        "site": site,
        "run_id": run.run_id,
        "dvc_hash": version.get("dvc_hash", "unknown"),
        "git_commit": context.git_commit,
        "new_contacts": night.new().height,
        "models": _models(champions),
        "matured": matured,
        "retrain": request.retrain,
        "event": request.event,
        "open_causes": [asdict(cause) for cause in request.causes],
    }
    night_log.close_night(context, night)
    write_json(context.path(artefacts.NIGHTLY), summary)
    return summary


def _site(context: RunContext) -> str:
    """Returns the name of the contact centre: the site's, else that of the store's folder."""
    return str(getattr(context, "site", "") or context.store.name)


def _dataset(context: RunContext) -> dict[str, Any]:
    path = context.path(artefacts.VERSION)
    return dict(read_json(path)) if path.exists() else {}


def _champions(context: RunContext, registry: Registry) -> list[_Champion]:
    """Returns the champion of each kind that has one, with the figures it was promoted with."""
    found = []
    for kind in kinds():
        version = registry.alias(kind.name, "champion")
        if version is None:
            continue
        bundle = registry.fetch(kind.name, version, context.path(artefacts.FETCHED))
        folder = context.path(artefacts.MONITORING.within(kind.name, bundle.sha256[:16]))
        decided = registry.version_tags(kind.name, version)["decision_id"]
        promoted = _promoted(context, kind.name, decided)
        found.append(_Champion(kind, version, bundle, folder, promoted=promoted))
    return found


def _promoted(context: RunContext, kind: str, decision_id: str) -> dict[str, Any]:
    """Returns the metrics a version had in the decision that promoted it."""
    record = read_json(context.path(artefacts.DECISIONS.of(kind)) / f"{decision_id}.json")
    return dict(record["candidate"]["metrics"])


def _promoted_on(registry: Registry, champions: list[_Champion]) -> date | None:
    """Returns the first day on which one of the champions was made champion; None without any."""
    days = [
        datetime.fromisoformat(entry.at).date()
        for champion in champions
        for entry in registry.ledger(champion.kind.name)
        if entry.version == champion.version and entry.action in trends.CHAMPION_MOVES
    ]
    return min(days, default=None)


def _watch_champion(
    context: RunContext, champion: _Champion, night: Night, progress: Progress
) -> Night:
    """Scores and observes a champion; returns the night with what it was scored on."""
    kind, stages = champion.kind, stages_of(champion.kind.name)
    card = stages.evaluate_new(
        context, champion.bundle, champion.name, night.unscored(kind.name), progress
    )
    learned = night_log.learned_before(context, champion.folder, night)
    if card is not None:
        known = night_log.familiar(context, card.units, learned)
        card = replace(card, units=card.units.with_columns(known))
        card.save(context.path(artefacts.NIGHTLY_SCORECARDS.within(night.day, f"{kind.name}.json")))
        _keep_evidence(champion, card, night.day)
        champion.card = card
        scored = card.units["contact_id"].to_list() if "contact_id" in card.units.columns else []
        night = night.with_entries(kind.name, scored)
    champion.compared = _compare(context, champion)
    _observe(context, champion, night, progress)
    return night


def watched_metrics(kind: ModelKind, card: Scorecard) -> list[str]:
    """Returns the ratios of a scorecard that a champion is watched by: its primary metric.

    Where that is measured by horizon, it is each horizon's.
    """
    primary = kind.primary_metric
    return [
        name
        for name in card.ratios
        if name == primary or name.removeprefix(f"{primary}_").isdigit()
    ]


def _keep_evidence(champion: _Champion, card: Scorecard, day: str) -> None:
    """Writes the units of tonight's scorecard that count for the verdict.

    Those of customers or voices the version learned from are left out: it was promoted for others.
    """
    rows = []
    for name in watched_metrics(champion.kind, card):
        ratio = card.ratios[name]
        rows.append(
            card.units.filter(~pl.col("familiar") & (pl.col(ratio.denominator) > 0)).select(
                "unit",
                "cluster",
                pl.lit(name).alias("metric"),
                pl.col(ratio.numerator).cast(pl.Float64).alias("num"),
                pl.col(ratio.denominator).cast(pl.Float64).alias("den"),
                pl.lit(day).alias("day"),
            )
        )
    if rows:
        write_table(champion.folder / "evidence" / f"{day}.parquet", pl.concat(rows))


def _compare(context: RunContext, champion: _Champion) -> dict[str, Comparison]:
    """Returns how the figures over all nights of this version compare with the promoted ones."""
    files = sorted((champion.folder / "evidence").glob("*.parquet"))
    if not files:
        return {}
    units = pl.concat([pl.read_parquet(file) for file in files]).unique(
        ["unit", "metric"], keep="last", maintain_order=True
    )
    params, compared = context.params.monitoring, {}
    names = sorted(name for name in units["metric"].unique() if name in champion.promoted)
    for name in names:
        part, then = units.filter(pl.col("metric") == name), champion.promoted[name]
        compared[name] = sequential.compare(
            sequential.ratio_figure(*(part[column].to_numpy() for column in ("num", "den", "cluster"))),
            sequential.figure_of_interval(then["value"], then["low"], then["high"]),
            margin=params.margin * abs(then["value"]),
            level=params.level / len(names),
            min_clusters=params.min_clusters,
            lower_is_better=champion.kind.lower_is_better,
        )
    return compared


def _observe(
    context: RunContext, champion: _Champion, night: Night, progress: Progress
) -> None:
    """Measures what came in tonight and holds it against the reference period."""
    params, stages = context.params.monitoring, stages_of(champion.kind.name)
    reference = _reference(context, champion, night, progress)
    new = night.new()
    if not new.is_empty():
        champion.observed = stages.observe(context, champion.bundle, new, progress)
    write_table(champion.folder / "nights" / f"{night.day}.parquet", champion.observed.table)
    files = sorted((champion.folder / "nights").glob("*.parquet"))
    files = [file for file in files if file.stem <= night.day][-max(params.windows) :]
    champion.drift = judge_panel(
        champion.kind.name,
        reference,
        [pl.read_parquet(file) for file in files],
        params=params,
        kinds=len(kind_names()),
    )


def _reference(
    context: RunContext, champion: _Champion, night: Night, progress: Progress
) -> pl.DataFrame:
    """Returns what was measured of the reference period: made in the version's first night."""
    path = champion.folder / "reference.parquet"
    if path.exists():
        return pl.read_parquet(path)
    chosen = reference_contacts(context, night.old(), champion.kind.name)
    observed = Observed()
    if not chosen.is_empty():
        observed = stages_of(champion.kind.name).observe(
            context, champion.bundle, chosen, progress
        )
    write_table(path, observed.table)
    return observed.table


def reference_contacts(context: RunContext, old: pl.DataFrame, kind: str) -> pl.DataFrame:
    """Returns the contacts of the reference period, from the last day back.

    It reaches back `reference_days`, or as far as `reference_units` contacts take, a year at most.
    For a kind that hears, only recorded contacts count; those it trained on are left out, since it
    is surer of them.
    """
    params = context.params.monitoring
    if kind == "asr":
        clean = read_tables(context.path(artefacts.CLEAN))
        old = old.join(clean["recordings"], on="contact_id", how="semi")
        splits = context.path(artefacts.SPLITS)
        if splits.exists():
            people = clean["turns"].filter(pl.col("origin") == "person")
            trained = (
                pl.read_parquet(splits)
                .filter(pl.col("split") == "train")
                .drop_nulls("contact_id")
                .join(people, on="contact_id", how="semi")
            )
            old = old.join(trained, on="contact_id", how="anti")
    if old.is_empty():
        return old
    ordered = old.sort("day", "contact_id", descending=[True, False])
    last: date = ordered["day"][0]
    enough: date = ordered["day"][min(params.reference_units, ordered.height) - 1]
    first = min(last - timedelta(days=params.reference_days), enough)
    first = max(first, last - timedelta(days=365 * _REFERENCE_YEARS))
    chosen = ordered.filter(pl.col("day") > pl.lit(first - timedelta(days=1)))
    if kind == "asr" and chosen.height > params.reference_calls:  # spread over its days
        chosen = chosen.sort("day", "contact_id").gather(
            [n * chosen.height // params.reference_calls for n in range(params.reference_calls)]
        )
    return chosen.sort("contact_id")


def _request(context: RunContext, champions: list[_Champion], site: str) -> causes.Request:
    """Enters tonight's alarms and verdicts; returns whether they ask for a retraining."""
    alarms = {}
    for champion in champions:
        found = [(alarm.metric, alarm.sentence) for alarm in champion.drift.alarms] if (
            champion.drift
        ) else []
        if _verdict(champion) is State.WORSE:
            found.append((WORSE, _sentence(champion)))
        alarms[champion.kind.name] = found
    return causes.note_alarms(
        context.path(CAUSES),
        alarms,
        {champion.kind.name: champion.version for champion in champions},
        site=site,
        day=context.now().date(),
        ask_again_days=context.params.monitoring.ask_again_days,
    )


def _verdict(champion: _Champion) -> State:
    return sequential.overall([comparison.state for comparison in champion.compared.values()])


def _sentence(champion: _Champion) -> str:
    """Returns what the verdict on a champion is and rests on, for people."""
    if not champion.compared:
        return f"{champion.name}: nothing with known truth came in yet, so nothing is proven."
    parts = []
    for name, found in champion.compared.items():
        then = champion.promoted[name]["value"]
        now = "not measured"
        if found.difference is not None:
            sign = 1 if champion.kind.lower_is_better else -1
            now = f"{then + sign * found.difference:.4f}"
        said = {
            State.WORSE: "worse",
            State.HOLDS: f"holds within {found.margin:.4f}",
            State.UNPROVEN: "unproven: too little evidence either way",
        }[found.state]
        within = (
            ""
            if found.low is None or found.high is None
            else f", loss between {found.low:+.4f} and {found.high:+.4f}"
        )
        parts.append(
            f"{name} {now}, promoted with {then:.4f}{within} "
            f"({found.clusters} {champion.kind.cluster_title}): {said}"
        )
    return f"{champion.name}: {'; '.join(parts)}."


def _models(champions: list[_Champion]) -> dict[str, Any]:
    """Returns the entry of every kind in nightly.json."""
    models: dict[str, Any] = {
        kind: {"verdict": State.NONE.value, "sentence": f"there is no {kind} champion yet"}
        for kind in kind_names()
    }
    for champion in champions:
        card, metric = champion.card, champion.kind.primary_metric
        models[champion.kind.name] = {
            "version": champion.version,
            "verdict": _verdict(champion).value,
            "sentence": _sentence(champion),
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


def _matured(context: RunContext) -> list[dict[str, Any]]:
    """Returns how earlier scores have turned out, by model and horizon.

    Only horizons that have passed are among them.
    """
    params = context.params
    return matured_scores(
        context.path(artefacts.SCORED),
        read_tables(context.path(artefacts.CLEAN)),
        params.features,
        seed=params.evaluation.seed,
        campaign=params.evaluation.campaign,
    )


# --- what is kept: trends, and the MLflow run ---


def _points(champion: _Champion, day: str) -> list[Point]:
    """Returns the trend points of a champion: figures, slices, estimates, measures and alarms."""
    kind, version, points = champion.kind.name, champion.version, []

    def figure(name: str, estimate: Estimate, by: str = "", value: str = "") -> Point:
        return Point(
            day, kind, name, estimate.value, estimate.low, estimate.high, estimate.n,
            trends.TRUTH, version, by, value,
        )  # fmt: skip

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
                day, kind, name, estimate.value, estimate.low, estimate.high, estimate.calls,
                source, version,
            )  # fmt: skip
        )
    points += _measures(champion, day)
    for alarm in champion.drift.alarms if champion.drift else ():
        points.append(
            Point(day, kind, alarm.metric, alarm.value, version=version, event=trends.ALARM,
                  slice=alarm.category, says=alarm.sentence)  # fmt: skip
        )
    points.append(
        Point(day, kind, champion.kind.primary_metric, version=version, event=trends.VERDICT,
              slice=_verdict(champion).value, says=_sentence(champion))  # fmt: skip
    )
    return points


def _measures(champion: _Champion, day: str) -> list[Point]:
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
            ends = (None, None) if radius is None else (mean - radius, mean + radius)
            points.append(Point(day, kind, name, mean, *ends, known.len(), version=version))
            continue
        for category, count in known.value_counts().sort(name).iter_rows():
            points.append(
                Point(day, kind, name, count / known.len(), n=known.len(), version=version,
                      by=name, slice=str(category))  # fmt: skip
            )
    return points


def _matured_points(matured: list[dict[str, Any]], day: str) -> list[Point]:
    points = []
    for row in matured:
        for name, ends in (row["metrics"] or {}).items():
            points.append(
                Point(
                    day, "churn", f"matured_{name}_{row['horizon_days']}", ends["value"],
                    ends["low"], ends["high"], row["matured"], trends.TRUTH,
                    by="model", slice=row["model"],
                )  # fmt: skip
            )
    return points


def _ledger_points(context: RunContext, registry: Registry, day: str) -> list[Point]:
    """Returns the promotions and rollbacks since the last night that kept a trend."""
    folder = context.path(artefacts.TRENDS)
    earlier = max((path.stem for path in folder.glob("*.parquet") if path.stem < day), default="")
    return [
        Point(
            day, entry.name, "champion", version=entry.version, event=entry.action,
            says=f"v{entry.version} is champion since {entry.at[:10]}, by {entry.actor}.",
        )  # fmt: skip
        for kind in kind_names()
        for entry in registry.ledger(kind)
        if entry.action in trends.CHAMPION_MOVES
        and earlier < entry.at[:10] <= day
    ]


def _metrics(champions: list[_Champion], matured: list[dict[str, Any]]) -> dict[str, float]:
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


def _tags(champions: list[_Champion]) -> dict[str, str]:
    """Returns the tags of the MLflow run: versions, verdicts, and the data that was scored."""
    tags = {}
    hashes: Mapping[str, str] = {
        champion.kind.name: champion.card.data_hash for champion in champions if champion.card
    }
    for champion in champions:
        kind = champion.kind.name
        tags[f"{kind}_version"] = str(champion.version)
        tags[f"{kind}_verdict"] = _verdict(champion).value
        tags[f"{kind}_says"] = _sentence(champion)[:_LONGEST_LINE]
        tags[f"{kind}_test_data_hash"] = hashes.get(kind, "nothing was scored")
    together = "".join(f"{kind}:{value};" for kind, value in sorted(hashes.items()))
    tags["test_data_hash"] = (
        hashlib.sha256(together.encode()).hexdigest() if hashes else "nothing was scored"
    )
    return tags
