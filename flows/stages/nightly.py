"""Is what serves today still as good as when it was promoted? Scores the champions and says so in MLflow."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import polars as pl

from data.files import read_json, read_tables, write_json
from data.progress import Progress
from evaluation.asr import test_sets
from evaluation.churn import scoring
from evaluation.churn.matured import matured_scores
from flows.runtime import heartbeats

if TYPE_CHECKING:
    from evaluation.scorecard import Scorecard
    from flows.runtime.context import RunContext

METRIC = {"asr": "wer", "churn": "brier"}


def evaluate_champions(context: RunContext, progress: Progress) -> dict[str, Any]:
    """Writes nightly.json and one MLflow run a day. A kind without a champion is said to have none."""
    from training.tracking import start_or_resume

    office = context.registry()
    day = context.now().date().isoformat()
    run = start_or_resume(
        context.settings.tracking_uri,
        "keepline-nightly",
        f"nightly {day}",
        reuse_finished=True,
        artifact_root=context.settings.artifact_root,
    )
    found: dict[str, Any] = {}
    with (
        heartbeats.heartbeat(
            context.store, "run", run.run_id, f"nightly {day}", context.settings.tracking_uri
        ),
        run,
    ):
        for kind, metric in METRIC.items():
            version = office.alias(kind, "champion")
            if version is None:
                found[kind] = {"verdict": "none", "sentence": f"there is no {kind} champion yet"}
                continue
            card = _scored(context, kind, version, progress)
            card.save(context.path(f"nightly/{day}/{kind}.json"))
            promoted = _promoted(context, kind, office.version_tags(kind, version)["decision_id"])
            found[kind] = {"version": version, **_judged(card, metric, promoted)}
            run.log_metrics(
                {f"{kind}_{name}": estimate.value for name, estimate in card.metrics.items()}
            )
            run.set_tags({f"{kind}_version": version, f"{kind}_verdict": found[kind]["verdict"]})
        matured = _matured(context)
        for one in matured:
            figures = {
                f"{name}_{end}": value
                for name, ends in (one["metrics"] or {}).items()
                for end, value in ends.items()
                if value is not None
            }
            where = f"{one['model'].replace(' ', '_')}_matured_{one['horizon_days']}"
            run.log_metrics(
                {f"{where}_{name.removesuffix('_value')}": value for name, value in figures.items()}
            )
    summary = {"day": day, "run_id": run.run_id, "models": found, "matured": matured}
    write_json(context.path("nightly.json"), summary)
    return summary


def _matured(context: RunContext) -> list[dict[str, Any]]:
    """How earlier scores have turned out, by model and horizon, as far as their horizons have passed."""
    params = context.params
    return matured_scores(
        context.path("scored"),
        read_tables(context.path("clean")),
        params.features,
        seed=params.evaluation.seed,
        campaign=params.evaluation.campaign,
    )


def _scored(context: RunContext, kind: str, version: int, progress: Progress) -> Scorecard:
    bundle = context.registry().fetch(kind, version, context.path("reference"))
    name, seed = f"{kind} v{version}", context.params.evaluation.seed
    if kind == "asr":
        params = replace(
            context.params.evaluation, conditions=(), guardrail_s=0.0
        )  # the test set is what is watched
        parts = test_sets.load_test_sets(context.path("speech/test.jsonl"), params)
        weights = bundle.path / "model.nemo"
        cards = test_sets.evaluate(
            weights,
            parts,
            name=name,
            bundle_sha256=bundle.sha256,
            params=params,
            now=context.now(),
            progress=progress,
        )
        return cards["test"]
    rows = pl.read_parquet(context.path("features.parquet"))
    truth = scoring.true_risks_path(
        context.path("truth/customers.parquet"), context.params.features
    )
    horizons = context.params.churn.horizons_days
    campaign = context.params.evaluation.campaign
    return scoring.score(
        rows,
        bundle.path,
        name=name,
        bundle_sha256=bundle.sha256,
        horizons_days=horizons,
        seed=seed,
        now=context.now(),
        truth=truth,
        campaign=campaign,
    )


def _promoted(context: RunContext, kind: str, decision_id: str) -> dict[str, Any]:
    """The metrics a version had in the decision that promoted it."""
    record = read_json(context.path(f"decisions/{kind}") / f"{decision_id}.json")
    return dict(record["candidate"]["metrics"])


def _judged(card: Scorecard, metric: str, promoted: dict[str, Any]) -> dict[str, Any]:
    """Worse means that the two 95 % intervals do not meet: a cautious rule for test sets that need not be the same."""
    now, then = card.metrics[metric], promoted[metric]
    known = now.low is not None and then["high"] is not None
    worse = known and now.low > then["high"]  # both metrics are errors: lower is better
    ends = f"[{now.low:.4f}, {now.high:.4f}]" if known else "without an interval"
    return {
        "verdict": "worse" if worse else "holds" if known else "unknown",
        "value": now.value,
        "promoted_with": then["value"],
        "sentence": f"{card.model}: {metric} {now.value:.4f} {ends}, promoted with {then['value']:.4f}",
    }
