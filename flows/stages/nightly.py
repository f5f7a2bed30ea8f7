"""The stage that evaluates the champions on what came in since the last night."""

from __future__ import annotations

from dataclasses import asdict, replace
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import polars as pl

from data import artefacts
from data.files import read_json, read_tables, write_json, write_table
from data.progress import Progress
from evaluation.churn.matured import matured_scores
from evaluation.monitoring import causes, sequential, trends
from evaluation.monitoring.observed import Observed
from evaluation.monitoring.panel import judge_panel
from evaluation.monitoring.sequential import Comparison, State
from flows.candidate.kind_stages import stages_of
from flows.runtime import heartbeats
from flows.stages import night_log, night_record
from flows.stages.night_champion import Champion
from flows.stages.night_log import Night
from models.kinds import kind_names, kinds
from models.registry.learned import read_learned

if TYPE_CHECKING:
    from evaluation.scorecard import Scorecard
    from flows.runtime.context import RunContext
    from models.kinds import ModelKind
    from models.registry.registry import Registry

CAUSES = artefacts.MONITORING.within("causes.json")
WORSE = "worse than when promoted"  # stands among the metrics of a cause
_REFERENCE_YEARS = 1  # no reference reaches farther back


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
            *(point for champion in champions for point in night_record.points(champion, day)),
            *night_record.matured_points(matured, day),
            *night_record.ledger_points(context, registry, day),
        ]
        trends.write_day(context.path(artefacts.TRENDS), day, points)
        run.log_metrics(night_record.metrics(champions, matured))
        run.set_tags(night_record.tags(champions))
    summary = {
        "day": day,
        "site": site,
        "run_id": run.run_id,
        "dvc_hash": version.get("dvc_hash", "unknown"),
        "git_commit": context.git_commit,
        "new_contacts": night.new().height,
        "models": night_record.models_of(champions),
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


def _champions(context: RunContext, registry: Registry) -> list[Champion]:
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
        found.append(Champion(kind, version, bundle, folder, promoted=promoted))
    return found


def _promoted(context: RunContext, kind: str, decision_id: str) -> dict[str, Any]:
    """Returns the metrics a version had in the decision that promoted it."""
    record = read_json(context.path(artefacts.DECISIONS.of(kind)) / f"{decision_id}.json")
    return dict(record["candidate"]["metrics"])


def _promoted_on(registry: Registry, champions: list[Champion]) -> date | None:
    """Returns the first day on which one of the champions was made champion; None without any."""
    days = [
        datetime.fromisoformat(entry.at).date()
        for champion in champions
        for entry in registry.ledger(champion.kind.name)
        if entry.version == champion.version and entry.action in trends.CHAMPION_MOVES
    ]
    return min(days, default=None)


def _watch_champion(
    context: RunContext, champion: Champion, night: Night, progress: Progress
) -> Night:
    """Scores and observes a champion; returns the night with what it was scored on."""
    kind, stages = champion.kind, stages_of(champion.kind.name)
    card = stages.evaluate_new(
        context, champion.bundle, champion.name, night.unscored(kind.name), progress
    )
    learned = read_learned(champion.bundle.path)
    if learned is None:  # a version from before there was such a record
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


def _keep_evidence(champion: Champion, card: Scorecard, day: str) -> None:
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


def _compare(context: RunContext, champion: Champion) -> dict[str, Comparison]:
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
            sequential.ratio_figure(
                *(part[column].to_numpy() for column in ("num", "den", "cluster"))
            ),
            sequential.figure_of_interval(then["value"], then["low"], then["high"]),
            margin=params.margin * abs(then["value"]),
            level=params.level / len(names),
            min_clusters=params.min_clusters,
            lower_is_better=champion.kind.lower_is_better,
        )
    return compared


def _observe(context: RunContext, champion: Champion, night: Night, progress: Progress) -> None:
    """Measures what came in tonight and holds it against the reference period."""
    params, stages = context.params.monitoring, stages_of(champion.kind.name)
    reference = _reference(context, champion, night, progress)
    new = night.new()
    if not new.is_empty():
        champion.observed = stages.observe(context, champion.bundle, new, progress)
    write_table(champion.folder / "nights" / f"{night.day}.parquet", champion.observed.table)
    for name, table in champion.observed.keep.items():
        write_table(champion.folder / name / f"{night.day}.parquet", table)
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
    context: RunContext, champion: Champion, night: Night, progress: Progress
) -> pl.DataFrame:
    """Returns what was measured of the reference period: made in the version's first night."""
    path = champion.folder / "reference.parquet"
    if path.exists():
        return pl.read_parquet(path)
    chosen = reference_contacts(context, night.old(), champion.kind.name)
    observed = Observed()
    if not chosen.is_empty():
        observed = stages_of(champion.kind.name).observe(context, champion.bundle, chosen, progress)
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


def _request(context: RunContext, champions: list[Champion], site: str) -> causes.Request:
    """Enters tonight's alarms and verdicts; returns whether they ask for a retraining."""
    alarms = {}
    for champion in champions:
        found = (
            [(alarm.metric, alarm.sentence) for alarm in champion.drift.alarms]
            if (champion.drift)
            else []
        )
        if champion.verdict() is State.WORSE:
            found.append((WORSE, champion.sentence()))
        alarms[champion.kind.name] = found
    return causes.note_alarms(
        context.path(CAUSES),
        alarms,
        {champion.kind.name: champion.version for champion in champions},
        site=site,
        day=context.now().date(),
        ask_again_days=context.params.monitoring.ask_again_days,
    )


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
