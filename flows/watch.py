"""Is what serves today still as good as when it was promoted? Scores the champions and says so in MLflow."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import polars as pl

from data.store import read_json, read_tables, write_json
from flows import hearing, judging, leaving, reaping

if TYPE_CHECKING:
    from evaluation.scorecard import Scorecard
    from flows.steps import Report, Street

METRIC = {"asr": "wer", "churn": "brier"}


def watch(street: Street, progress: Report) -> dict[str, Any]:
    """Writes nightly.json and one MLflow run a day. A kind without a champion is said to have none."""
    from training.tracking import start_or_resume

    office = judging.registry(street)
    day = street.now().date().isoformat()
    run = start_or_resume(street.settings.tracking_uri, "keepline-nightly", f"nightly {day}", reuse_finished=True,
                          artifact_root=street.settings.artifact_root)  # fmt: skip
    found: dict[str, Any] = {}
    with reaping.living(street.store, "run", run.run_id, f"nightly {day}", street.settings.tracking_uri), run:
        for kind, metric in METRIC.items():
            version = office.alias(kind, "champion")
            if version is None:
                found[kind] = {"verdict": "none", "sentence": f"there is no {kind} champion yet"}
                continue
            card = _scored(street, kind, version, progress)
            card.save(street.path(f"nightly/{day}/{kind}.json"))
            promoted = _promoted(street, kind, office.version_tags(kind, version)["decision_id"])
            found[kind] = {"version": version, **_judged(card, metric, promoted)}
            run.log_metrics({f"{kind}_{name}": estimate.value for name, estimate in card.metrics.items()})
            run.set_tags({f"{kind}_version": version, f"{kind}_verdict": found[kind]["verdict"]})
        matured = _matured(street)
        for one in matured:
            figures = {f"{name}_{end}": value for name, ends in (one["metrics"] or {}).items()
                       for end, value in ends.items() if value is not None}  # fmt: skip
            where = f"{one['model'].replace(' ', '_')}_matured_{one['horizon_days']}"
            run.log_metrics({f"{where}_{name.removesuffix('_value')}": value for name, value in figures.items()})
    summary = {"day": day, "run_id": run.run_id, "models": found, "matured": matured}
    write_json(street.path("nightly.json"), summary)
    return summary


def _matured(street: Street) -> list[dict[str, Any]]:
    """How earlier scores have turned out, by model and horizon, as far as their horizons have passed."""
    params = street.params
    return leaving.matured(street.path("scored"), read_tables(street.path("clean")), params.features,
                           params.evaluation.seed, params.evaluation.campaign)  # fmt: skip


def _scored(street: Street, kind: str, version: int, progress: Report) -> Scorecard:
    bundle = judging.registry(street).fetch(kind, version, street.path("reference"))
    name, seed = f"{kind} v{version}", street.params.evaluation.seed
    if kind == "asr":
        params = replace(street.params.evaluation, conditions=(), guardrail_s=0.0)  # the test set is what is watched
        parts = hearing.exams(street.path("speech/test.jsonl"), params)
        weights = bundle.path / "model.nemo"
        cards = hearing.examine(
            weights, parts, name, bundle.sha256, params, street.now(), progress
        )  # fmt: skip
        return cards["test"]
    rows = pl.read_parquet(street.path("features.parquet"))
    truth = leaving.truth(street.path("truth/customers.parquet"), street.params.features)
    horizons = street.params.churn.horizons_days
    campaign = street.params.evaluation.campaign
    return leaving.score(rows, bundle.path, name, bundle.sha256, horizons, seed, street.now(), truth, campaign=campaign)


def _promoted(street: Street, kind: str, decision_id: str) -> dict[str, Any]:
    """The metrics a version had in the decision that promoted it."""
    record = read_json(street.path(f"decisions/{kind}") / f"{decision_id}.json")
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
