"""The stages of the churn model, from features to scores with reasons."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any

import polars as pl

from data import leaks
from data.features import evidence
from data.files import read_json, read_tables, scan_tables, write_json, write_parts, write_table
from data.progress import Progress
from data.records import LABELS, TABLES
from evaluation.churn import matured, scoring
from flows.candidate import active_model, bundles, decision, release, runs, scorecards
from flows.candidate.probes import empty_probes_folder, write_probes
from flows.runtime.context import RunContext


def smoke_sample(current: pl.DataFrame) -> dict[str, Any]:
    """A few present customers as the body of a request, for the service to score before a release."""
    from models.churn.model import feature_columns

    names = feature_columns(current)
    return {
        "rows": [
            {"customer_id": row["customer_id"], "features": {name: row[name] for name in names}}
            for row in current.head(5).to_dicts()
        ]
    }


def score_all(model: str | None, current: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """(risks, reasons) of every row of `current`, riskiest first; both empty when no model is in office."""
    if model is None:
        return (
            pl.DataFrame(schema={"customer_id": pl.String, "as_of": pl.Date}),
            pl.DataFrame(
                schema={"customer_id": pl.String, "rank": pl.Int64, "sentence": pl.String}
            ),
        )
    from models.churn.model import ChurnModel

    network = ChurnModel.load(Path(model))
    risks = network.predict(current)
    return risks.sort(risks.columns[-1], descending=True), network.reasons(current)


def unseen(model: str | None, current: pl.DataFrame) -> dict[str, dict[str, int]]:
    """Categories of `current` that the model's training never saw, a feature, with how many customers have each."""
    if model is None:
        return {}
    from data.plain_table import unseen
    from models.churn.model import ChurnModel

    columns = ChurnModel.load(Path(model)).config.columns
    return unseen(
        current, {column.name: column.values for column in columns if column.kind == "categorical"}
    )


_BEFORE = timedelta(days=5)  # how long before being scored the planted complaint lies


def probe_churn(context: RunContext, progress: Progress) -> dict[str, Any]:
    """Writes probes/churn: behaviour tests on the held-out customers, with a complaint planted in their past."""
    from data.features.features import features
    from evaluation.churn.probes import churn_probes
    from models.churn.model import ChurnModel

    empty_probes_folder(context, "churn")
    tables, params = read_tables(context.path("clean")), context.params.features
    rows = pl.read_parquet(context.path("features.parquet")).filter(pl.col("split") == "test")
    last: date = max(rows["as_of"].to_list())
    rows = rows.filter(pl.col("as_of") == last)
    labels = pl.read_parquet(context.path("labels.parquet"))
    at = datetime.combine(last, time(12), UTC) - _BEFORE
    planted = [
        {
            "contact_id": f"planted-{customer}",
            "customer_id": customer,
            "channel": "phone",
            "started_at": at,
            "duration_s": 300.0,
            "source": "behaviour test",
        }
        for customer in rows["customer_id"]
    ]
    contacts = pl.concat([tables["contacts"], pl.DataFrame(planted, schema=TABLES["contacts"])])
    twins = {}
    for unresolved in ("yes", "no"):
        marks = [
            (contact["contact_id"], label, value, 0.95, "behaviour test")
            for contact in planted
            for label, value in (("reason", "complaint"), ("friction_unresolved", unresolved))
        ]
        known = pl.concat([labels, pl.DataFrame(marks, schema=LABELS, orient="row")])
        made = features({**tables, "contacts": contacts}, known, [last], params)
        twins[unresolved] = made.join(rows.select("customer_id"), on="customer_id", how="semi")
    network = ChurnModel.load(context.path("churn/bundle"))
    probes = churn_probes(
        network.predict,
        rows,
        unresolved=twins["yes"],
        resolved=twins["no"],
        seed=context.params.evaluation.seed,
    )
    return write_probes(context, "churn", probes, {})


def features(context: RunContext, progress: Progress) -> dict[str, Any]:
    """Point-in-time features: months to learn from, and today to be scored."""
    from data.features.features import active_customers, as_of_dates, features_in_parts, snapshot
    from data.splits import customer_splits

    # Read as far as each part needs it, so that a large centre does not have to fit into memory.
    tables, params = scan_tables(context.path("clean")), context.params.features
    labels = pl.scan_parquet(context.path("labels.parquet"))
    outcomes, began = (
        tables["outcomes"].collect(),
        tables["contacts"].select("started_at").collect(),
    )
    months, today = as_of_dates(outcomes, began, params), snapshot(outcomes, began, params)
    divided = customer_splits(pl.read_parquet(context.path("splits.parquet")))
    past = features_in_parts(tables, labels, months, params, progress)
    checked = leaks.assert_no_leakage(past, divided, tables, params.event)
    rows = write_parts(context.path("features.parquet"), checked)
    there = active_customers(features_in_parts(tables, labels, [today], params), outcomes, params)
    current = write_parts(context.path("current.parquet"), there)
    found = pl.scan_parquet(context.path("features.parquet"))
    customers = found.select(pl.col("customer_id").n_unique()).collect().item()
    summary = {
        "rows": rows,
        "customers": customers,
        "as_of": months,
        "snapshot": today,
        "current": current,
        "columns": len(found.collect_schema()),
        "lead_days": params.lead_days,
    }
    write_json(context.path("features.json"), summary)
    return summary


def train_churn(context: RunContext, progress: Progress) -> dict[str, Any]:
    """Trains the churn network as one MLflow run and leaves it as the bundle churn/bundle."""
    from data.leaks import assert_customers_apart
    from training.churn.train import train

    params, work = context.params.churn, context.path("churn/work")
    rows = pl.read_parquet(context.path("features.parquet"))
    assert_customers_apart(rows)
    with runs.training_run(context, "churn", asdict(params)) as run:
        found = train(
            params, rows, work, run, progress, lead_days=context.params.features.lead_days
        )
    model = work / "model"
    files = {name: model / name for name in ("weights.safetensors", "config.json")}
    return bundles.write_candidate_bundle(context, "churn", files, run.run_id, found)


def reference_churn(context: RunContext, progress: Progress) -> dict[str, Any]:
    """Names the churn model to beat: the champion, or the life table before there is one."""
    return scorecards.reference(context, "churn", {"model": scoring.LIFE_TABLE, "path": None})


def evaluate_churn(context: RunContext, progress: Progress) -> dict[str, Any]:
    """Scores candidate and reference on the same held-out customers."""
    rows = pl.read_parquet(context.path("features.parquet"))
    reference = read_json(context.path("reference/churn.json"))
    cards = {
        role: scoring.score(
            rows,
            path,
            name=scorecards.model_name(context, "churn", role),
            bundle_sha256=scorecards.model_checksum(context, "churn", role),
            horizons_days=context.params.churn.horizons_days,
            seed=context.params.evaluation.seed,
            now=context.now(),
            truth=scoring.true_risks_path(
                context.path("truth/customers.parquet"), context.params.features
            ),
            predictions=context.path("scorecards/churn/predictions.parquet")
            if role == "candidate"
            else None,
            campaign=context.params.evaluation.campaign,
        )
        for role, path in (
            ("reference", reference["path"]),
            ("candidate", context.path("churn/bundle")),
        )
    }
    return scorecards.write_scorecards(context, "churn", cards)


def decide_churn(context: RunContext, progress: Progress) -> dict[str, Any]:
    """Puts the candidate through the gate, smoke test included, and writes the decision record."""
    return decision.decide(
        context, "churn", smoke_sample(pl.read_parquet(context.path("current.parquet")))
    )


def release_churn(context: RunContext, progress: Progress) -> dict[str, Any]:
    """Registers the candidate and, if the gate accepted it, makes it champion."""
    return release.release(context, "churn")


def office_churn(context: RunContext, progress: Progress) -> dict[str, Any]:
    """Names the churn model in office: the champion, whatever the last candidate was."""
    return active_model.write_active_model(context, "churn")


def score(context: RunContext, progress: Progress) -> dict[str, Any]:
    """Scores every present customer by the churn model in office, with reasons and the moments they rest on."""
    model, current = (
        active_model.active_model_path(context, "churn"),
        pl.read_parquet(context.path("current.parquet")),
    )
    scores, reasons = score_all(model, current)
    clean = read_tables(context.path("clean"))
    reasons = evidence.with_evidence(
        reasons,
        scores,
        clean["contacts"],
        pl.read_parquet(context.path("labels.parquet")),
        [clean["turns"], pl.read_parquet(context.path("transcripts.parquet"))],
        context.params.features,
    )
    write_table(context.path("scores.parquet"), scores)
    matured.archive_predictions(
        context.path("scored"), scores, read_json(context.path("office/churn.json"))["model"]
    )
    write_table(context.path("reasons.parquet"), reasons)
    summary = {
        "customers": scores.height,
        "mean": {name: scores[name].mean() for name in scores.columns if name.startswith("risk")},
        "unseen": unseen(model, current),
    }
    write_json(context.path("score.json"), summary)
    return summary
