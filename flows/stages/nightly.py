"""The stage that evaluates the champions: are they as good as when they were promoted?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from data import artefacts
from data.files import read_json, read_tables, write_json
from data.progress import Progress
from evaluation.churn.matured import matured_scores
from flows.candidate.kind_stages import stages_of
from flows.runtime import heartbeats
from models.kinds import kinds

if TYPE_CHECKING:
    from evaluation.scorecard import Scorecard
    from flows.runtime.context import RunContext
    from models.kinds import ModelKind


def nightly(context: RunContext, progress: Progress) -> dict[str, Any]:
    """Writes nightly.json, with one MLflow run a day, and returns its content.

    A kind without a champion gets the verdict none.
    """
    from training.tracking import start_or_resume

    registry = context.registry()
    day = context.now().date().isoformat()
    run = start_or_resume(
        context.settings.tracking_uri,
        "keepline-nightly",
        f"nightly {day}",
        tags=_data_tags(context),
        reuse_finished=True,
        artifact_root=context.settings.artifact_root,
    )
    models: dict[str, Any] = {}
    with (
        heartbeats.heartbeat(
            context.store, "run", run.run_id, f"nightly {day}", context.settings.tracking_uri
        ),
        run,
    ):
        for model_kind in kinds():
            kind = model_kind.name
            version = registry.alias(kind, "champion")
            if version is None:
                models[kind] = {"verdict": "none", "sentence": f"there is no {kind} champion yet"}
                continue
            bundle = registry.fetch(kind, version, context.path(artefacts.FETCHED))
            card = stages_of(kind).evaluate_champion(
                context, bundle, f"{kind} v{version}", progress
            )
            card.save(context.path(artefacts.NIGHTLY_SCORECARDS.within(day, f"{kind}.json")))
            promoted = _promoted(context, kind, registry.version_tags(kind, version)["decision_id"])
            models[kind] = {"version": version, **_judged(card, model_kind, promoted)}
            run.log_metrics(
                {f"{kind}_{name}": estimate.value for name, estimate in card.metrics.items()}
            )
            run.set_tags(
                {
                    f"{kind}_version": version,
                    f"{kind}_verdict": models[kind]["verdict"],
                    f"{kind}_test_data_hash": card.data_hash,
                }
            )
        matured = _matured(context)
        for row in matured:
            figures = {
                f"{name}_{end}": value
                for name, ends in (row["metrics"] or {}).items()
                for end, value in ends.items()
                if value is not None
            }
            where = f"{row['model'].replace(' ', '_')}_matured_{row['horizon_days']}"
            run.log_metrics(
                {f"{where}_{name.removesuffix('_value')}": value for name, value in figures.items()}
            )
    summary = {"day": day, "run_id": run.run_id, "models": models, "matured": matured}
    write_json(context.path(artefacts.NIGHTLY), summary)
    return summary


def _data_tags(context: RunContext) -> dict[str, str]:
    """Returns the commit and the dataset that tonight's figures are about."""
    version = context.path(artefacts.VERSION)
    dvc_hash = read_json(version)["dvc_hash"] if version.exists() else "unknown"
    return {"git_commit": context.git_commit, "dvc_hash": dvc_hash}


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


def _promoted(context: RunContext, kind: str, decision_id: str) -> dict[str, Any]:
    """Returns the metrics a version had in the decision that promoted it."""
    record = read_json(context.path(artefacts.DECISIONS.of(kind)) / f"{decision_id}.json")
    return dict(record["candidate"]["metrics"])


def _judged(card: Scorecard, kind: ModelKind, promoted: dict[str, Any]) -> dict[str, Any]:
    """Returns the verdict on a champion's scorecard, compared with the promoted figure.

    Worse means that the two 95 % intervals do not meet: a cautious rule for test sets that need not
    be the same.
    """
    metric = kind.primary_metric
    now, then = card.metrics[metric], promoted[metric]
    has_intervals = None not in (now.low, now.high, then["low"], then["high"])
    worse = has_intervals and (
        now.low > then["high"] if kind.lower_is_better else now.high < then["low"]
    )
    interval = f"[{now.low:.4f}, {now.high:.4f}]" if has_intervals else "without an interval"
    return {
        "verdict": "worse" if worse else "holds" if has_intervals else "unknown",
        "value": now.value,
        "promoted_with": then["value"],
        "sentence": (
            f"{card.model}: {metric} {now.value:.4f} {interval}, promoted with {then['value']:.4f}"
        ),
    }
