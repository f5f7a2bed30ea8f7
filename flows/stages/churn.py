"""The stages of the churn model, from features to scores with reasons."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from data import artefacts, leaks
from data.features import evidence
from data.files import read_json, read_tables, scan_tables, write_json, write_parts, write_table
from data.progress import Progress
from data.records import LABELS, TABLES
from evaluation.churn import matured, scoring
from flows.candidate import active_model, bundles, runs, scorecards
from flows.candidate.learned import learned_by_role, leave_out_seen
from flows.candidate.probes import empty_probes_folder, write_probes
from flows.runtime.context import RunContext
from flows.stages import churn_nightly
from models.kinds import CHURN
from models.registry.learned import Learned
from training.churn.learnable import ChurnTrainingError

if TYPE_CHECKING:
    from evaluation.monitoring.observed import Observed
    from evaluation.scorecard import Scorecard
    from flows.candidate.learned import LeftOut
    from models.registry.bundle import Bundle
    from training.search import SearchTask

KIND = CHURN.name


def smoke_sample(context: RunContext) -> dict[str, Any]:
    """Returns active customers as the body of a request.

    The service scores them before a release.
    """
    from models.churn.model import feature_columns

    current = pl.read_parquet(context.path(artefacts.CURRENT))
    names = feature_columns(current)
    return {
        "rows": [
            {"customer_id": row["customer_id"], "features": {name: row[name] for name in names}}
            for row in current.head(5).to_dicts()
        ]
    }


def smoke_test(context: RunContext, bundle: Path) -> dict[str, Any]:
    """Asks the bundle the smoke sample, as the service would."""
    from models.serving import smoke

    return smoke.smoke_test(bundle, KIND, smoke_sample(context))


def score_all(
    model: Path | None, current: pl.DataFrame, *, reasons: bool = True
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Returns (risks, reasons) of every row of `current`, riskiest first.

    Both are empty when no model is active; the latter also without `reasons`.
    """
    none = pl.DataFrame(schema={"customer_id": pl.String, "rank": pl.Int64, "sentence": pl.String})
    if model is None:
        return pl.DataFrame(schema={"customer_id": pl.String, "as_of": pl.Date}), none
    from models.churn.model import ChurnModel

    network = ChurnModel.load(model)
    risks = network.predict(current)
    return risks.sort(risks.columns[-1], descending=True), (
        network.reasons(current) if reasons else none
    )


def unseen(model: Path | None, current: pl.DataFrame) -> dict[str, dict[str, int]]:
    """Returns categories of `current` that the model's training never saw, by feature.

    Each has the number of customers who have it.
    """
    if model is None:
        return {}
    from data.plain_table import unseen_values
    from models.churn.model import ChurnModel

    columns = ChurnModel.load(model).config.columns
    return unseen_values(
        current, {column.name: column.values for column in columns if column.kind == "categorical"}
    )


_BEFORE = timedelta(days=5)  # how long before being scored the planted complaint lies


def probe(context: RunContext, progress: Progress) -> dict[str, Any]:
    """Runs behaviour tests on held-out customers and returns their summary.

    Each customer gets a complaint planted in the past, once resolved and once not. Writes
    probes/churn.
    """
    from data.features.features import features
    from evaluation.churn.probes import churn_probes
    from models.churn.model import ChurnModel

    empty_probes_folder(context, KIND)
    tables, params = read_tables(context.path(artefacts.CLEAN)), context.params.features
    rows = pl.read_parquet(context.path(artefacts.FEATURES)).filter(pl.col("split") == "test")
    last: date = max(rows["as_of"].to_list())
    rows = rows.filter(pl.col("as_of") == last)
    labels = pl.read_parquet(context.path(artefacts.LABELS))
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
        all_labels = pl.concat([labels, pl.DataFrame(marks, schema=LABELS, orient="row")])
        made = features({**tables, "contacts": contacts}, all_labels, [last], params=params)
        twins[unresolved] = made.join(rows.select("customer_id"), on="customer_id", how="semi")
    network = ChurnModel.load(context.path(artefacts.BUNDLE.of(KIND)))
    probes = churn_probes(
        network.predict,
        rows,
        unresolved=twins["yes"],
        resolved=twins["no"],
        seed=context.params.evaluation.seed,
    )
    return write_probes(context, KIND, probes, {})


def features(context: RunContext, progress: Progress) -> dict[str, Any]:
    """Builds point-in-time features: months to learn from, and today to be scored."""
    from data.features.customer_record import share_first_known
    from data.features.features import active_customers, as_of_dates, features_in_parts, snapshot
    from data.splits import customer_splits

    # Read as far as each part needs it, so that a large centre does not have to fit into memory.
    tables, params = scan_tables(context.path(artefacts.CLEAN)), context.params.features
    labels = pl.scan_parquet(context.path(artefacts.LABELS))
    outcomes, began = (
        tables["outcomes"].collect(),
        tables["contacts"].select("started_at").collect(),
    )
    months, today = as_of_dates(outcomes, began, params), snapshot(outcomes, began, params)
    divided = customer_splits(pl.read_parquet(context.path(artefacts.SPLITS)))
    past = features_in_parts(tables, labels, months, params=params, progress=progress)
    checked = leaks.assert_no_leakage(past, divided, tables=tables, event=params.event)
    rows = write_parts(context.path(artefacts.FEATURES), checked)
    active = active_customers(
        features_in_parts(tables, labels, [today], params=params, last_record=True),
        outcomes,
        params,
    )
    current = write_parts(context.path(artefacts.CURRENT), active)
    written = pl.scan_parquet(context.path(artefacts.FEATURES))
    _check_customer_record(context, written)
    customers = written.select(pl.col("customer_id").n_unique()).collect().item()
    summary = {
        "rows": rows,
        "customers": customers,
        "as_of": months,
        "snapshot": today,
        "current": current,
        "columns": len(written.collect_schema()),
        "lead_days": params.lead_days,
        # rows from before the first delivery of their customer
        "record_first_known": share_first_known(
            written.select("customer_id", "as_of").collect(),
            tables["customer_versions"].collect(),
        ),
    }
    write_json(context.path(artefacts.FEATURES_SUMMARY), summary)
    return summary


def _check_customer_record(context: RunContext, written: pl.LazyFrame) -> None:
    """Raises LeakError where the customer record of today tells who has left."""
    from data.record_leaks import assert_record_knows_no_outcome

    current = pl.read_parquet(context.path(artefacts.CURRENT))
    keys = ("customer_id", "as_of", "event", "plan", "region", "monthly_price")
    record = [name for name in current.columns if name in keys[3:] or name.startswith("attr_")]
    assert_record_knows_no_outcome(
        written.filter(pl.col("event")).select(*keys[:3], *record).collect(),
        current,
        known_beforehand=context.params.features.known_beforehand,
    )


def train(context: RunContext, progress: Progress) -> dict[str, Any]:
    """Trains the churn network as one MLflow run and writes the bundle churn/bundle."""
    from data.leaks import assert_customers_apart
    from training.churn import train as training

    params, work = context.params.churn, context.path(artefacts.WORK.of(KIND).within("work"))
    rows = pl.read_parquet(context.path(artefacts.FEATURES))
    assert_customers_apart(rows)
    with runs.training_run(context, KIND, asdict(params)) as run:
        figures = training.train(
            params,
            rows,
            work,
            run=run,
            progress=progress,
            lead_days=context.params.features.lead_days,
        )
    model = work / "model"
    files = {name: model / name for name in ("weights.safetensors", "config.json")}
    taught = rows.filter(pl.col("split").is_in(["train", "valid"]))
    return bundles.write_candidate_bundle(
        context,
        KIND,
        files,
        run.run_id,
        figures,
        learned=Learned.of(customers=taught["customer_id"].unique()),
    )


def training_line(summary: dict[str, Any]) -> str:
    """Returns how many epochs it took, and horizons that nobody was observed for."""
    left_out = summary["horizons_left_out"]
    return f"{summary['epochs']} passes" + "".join(
        f"; nobody was followed for {days} days" for days in left_out
    )


def search_task(context: RunContext, progress: Progress) -> SearchTask:
    """Returns the search of churn settings on train and valid customers."""
    from training.churn.search import task

    rows = pl.read_parquet(context.path(artefacts.FEATURES))
    return task(context.params.churn, rows, lead_days=context.params.features.lead_days)


def assess(context: RunContext, progress: Progress) -> dict[str, Any]:
    """Scores the candidate on the validation customers."""
    rows = scoring.as_held_out(pl.read_parquet(context.path(artefacts.FEATURES)), "valid")
    card = _score(
        context,
        rows,
        context.path(artefacts.BUNDLE.of(KIND)),
        scorecards.model_name(context, KIND, "candidate"),
        scorecards.model_checksum(context, KIND, "candidate"),
    )
    return scorecards.write_validation_scorecard(context, KIND, card)


def evaluate(context: RunContext, progress: Progress) -> dict[str, Any]:
    """Scores candidate and reference on the same held-out customers, and on the last quarter.

    For the quarter both are trained anew on what was known before it.
    """
    rows, left_out = _unseen_rows(context, learned_by_role(context, KIND))
    cards = {
        role: _score(
            context,
            rows,
            path,
            scorecards.model_name(context, KIND, role),
            scorecards.model_checksum(context, KIND, role),
            save=role == "candidate",
        )
        for role, path in scorecards.models_to_compare(context, KIND).items()
    }
    test_set = scoring.held_out_rows(rows)
    summary = scorecards.write_scorecards(context, KIND, cards, test_set, left_out)
    quarter = context.path(artefacts.SCORECARDS.of(KIND).within("next_quarter"))
    shutil.rmtree(quarter, ignore_errors=True)
    try:
        asked = _ask_last_quarter(context, rows)
    except ChurnTrainingError as error:
        summary["next_quarter"] = {"says": str(error)}
        # Beside the scorecards, where the decision looks for it.
        write_json(quarter.with_suffix(".json"), summary["next_quarter"])
    else:
        quarter.with_suffix(".json").unlink(missing_ok=True)
        scorecards.write_secondary_scorecards(context, KIND, "next_quarter", asked)
        summary["next_quarter"] = {"says": "", **asked["candidate"].facts}
    write_json(context.path(artefacts.EVALUATE.of(KIND)), summary)
    return summary


def _ask_last_quarter(context: RunContext, rows: pl.DataFrame) -> dict[str, Scorecard]:
    """Returns scorecards of both recipes on the last quarter, trained on what was known before it.

    The reference is the champion's recipe, trained again, or the life table. Raises
    ChurnTrainingError where there is no quarter to ask.
    """
    from evaluation.churn.quarter import quarter_scorecard
    from models.registry.bundle import verify_bundle
    from training.churn import forward

    params = context.params.backtest.last_quarter
    if params.days == 0:
        raise ChurnTrainingError("last quarter: not asked (backtest.last_quarter.days is 0).")
    lead_days = context.params.features.lead_days
    recipe = context.params.churn
    with tempfile.TemporaryDirectory() as work:  # the models are thrown away
        quarter = forward.predict_last_quarter(
            rows, recipe, params, work_dir=Path(work), lead_days=lead_days
        )
    risks = dict(quarter.risks)
    own = risks.pop(forward.MODEL)
    reference, same = risks[forward.LIFE_TABLE], False
    path = scorecards.models_to_compare(context, KIND)["reference"]
    if path is not None:
        champions = forward.recipe_of(verify_bundle(path).params)
        same = forward.same_recipe(recipe, champions)
        reference = own
        if not same:
            with tempfile.TemporaryDirectory() as work:
                reference = forward.predict_last_quarter(
                    rows,
                    champions,
                    params,
                    work_dir=Path(work),
                    lead_days=lead_days,
                    baselines=False,
                ).risks[forward.MODEL]
    facts = {"day": quarter.day.isoformat(), "dates": quarter.dates, "same_recipe": same}
    return {
        role: quarter_scorecard(
            frame,
            risks,
            model=f"{scorecards.model_name(context, KIND, role)}, trained before {quarter.day}",
            bundle_sha256=scorecards.model_checksum(context, KIND, role),
            data_hash=scoring.rows_hash(own.select("customer_id", "as_of", "event", "time_days")),
            seed=context.params.evaluation.seed,
            created_at=context.now().isoformat(),
            facts=facts,
        )
        for role, frame in (("candidate", own), ("reference", reference))
    }


def _unseen_rows(
    context: RunContext, learned: Mapping[str, Learned | None]
) -> tuple[pl.DataFrame, LeftOut]:
    """Returns the features without held-out customers that a model of `learned` knows.

    Counted are rows that models are scored on.
    """
    rows = pl.read_parquet(context.path(artefacts.FEATURES))
    held_out = scoring.held_out_rows(rows)
    unseen, left_out = leave_out_seen(held_out.select("customer_id"), learned)
    if not left_out.units:
        return rows, left_out
    seen = held_out.join(unseen, on="customer_id", how="anti").select("customer_id").unique()
    known = pl.col("customer_id").is_in(seen["customer_id"].implode())
    return rows.filter(~(known & (pl.col("split") == "test"))), left_out


def _score(
    context: RunContext,
    rows: pl.DataFrame,
    model: Path | None,
    name: str,
    checksum: str,
    *,
    save: bool = False,
) -> Scorecard:
    """Returns the scorecard of a model on the held-out customers among `rows`.

    With `save` its predictions are written too.
    """
    params = context.params
    return scoring.score(
        rows,
        model,
        name=name,
        bundle_sha256=checksum,
        horizons_days=params.churn.horizons_days,
        seed=params.evaluation.seed,
        now=context.now(),
        truth=scoring.true_risks_path(
            context.path(artefacts.TRUTH.within("customers.parquet")), params.features
        ),
        predictions=context.path(artefacts.SCORECARDS.of(KIND).within("predictions.parquet"))
        if save
        else None,
        campaign=params.evaluation.campaign,
    )


def baseline(context: RunContext) -> dict[str, Any]:
    """Returns the life table: what a first churn model has to beat."""
    return {"model": scoring.LIFE_TABLE, "path": None}


def fallback(context: RunContext, decided: Mapping[str, Any]) -> tuple[Path | None, str]:
    """Returns no bundle: a refused churn model is never used."""
    return None, ""


def evaluate_new(
    context: RunContext, bundle: Bundle, name: str, contacts: Sequence[str], progress: Progress
) -> Scorecard | None:
    """Returns the scorecard of a version's archived predictions whose horizons have passed.

    Today's predictions of the version are archived first, so that a version which is not in use
    can be judged later as well. `contacts` matter to no outcome. None before anything matured.
    """
    current, params = context.path(artefacts.CURRENT), context.params
    if current.exists():
        scores, _ = score_all(bundle.path, pl.read_parquet(current), reasons=False)
        matured.archive_predictions(context.path(artefacts.SCORED), scores, name)
    return matured.matured_scorecard(
        context.path(artefacts.SCORED),
        read_tables(context.path(artefacts.CLEAN)),
        params.features,
        model=name,
        bundle_sha256=bundle.sha256,
        seed=params.evaluation.seed,
        now=context.now(),
    )


def observe(
    context: RunContext, bundle: Bundle, contacts: pl.DataFrame, progress: Progress
) -> Observed:
    """Returns features and risks of the customers who were in touch."""
    return churn_nightly.observe(context, bundle, contacts, progress)


def restore_test_set(context: RunContext, rows: pl.DataFrame, dataset: Path, out: Path) -> str:
    """Writes the held-out rows of features to `out`; returns their hash."""
    write_table(out / scorecards.TEST_SET_FILE, rows)
    return scoring.rows_hash(rows)


def score(context: RunContext, progress: Progress) -> dict[str, Any]:
    """Scores every active customer by the active churn model; returns the summary.

    Writes the risks and the reasons with the moments they rest on.
    """
    model = active_model.active_model_path(context, KIND)
    current = pl.read_parquet(context.path(artefacts.CURRENT))
    scores, reasons = score_all(model, current)
    clean = read_tables(context.path(artefacts.CLEAN))
    reasons = evidence.with_evidence(
        reasons,
        scores,
        contacts=clean["contacts"],
        labels=pl.read_parquet(context.path(artefacts.LABELS)),
        turns=[clean["turns"], pl.read_parquet(context.path(artefacts.TRANSCRIPTS))],
        params=context.params.features,
    )
    write_table(context.path(artefacts.SCORES), scores)
    matured.archive_predictions(
        context.path(artefacts.SCORED),
        scores,
        read_json(context.path(artefacts.ACTIVE.of(KIND)))["model"],
    )
    write_table(context.path(artefacts.REASONS), reasons)
    summary = {
        "customers": scores.height,
        "mean": {name: scores[name].mean() for name in scores.columns if name.startswith("risk")},
        "unseen": unseen(model, current),
    }
    write_json(context.path(artefacts.SCORE), summary)
    return summary
