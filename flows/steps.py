"""Each stage of the street as a plain function: paths and frozen settings in, files and a small summary out.

No Prefect and no DVC here: both call these functions, through `flows.wiring.run_step`.
"""

from __future__ import annotations

import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import polars as pl

from data import leaks
from data.features import evidence
from data.files import (
    read_json,
    read_tables,
    scan_tables,
    write_json,
    write_lines,
    write_parts,
    write_table,
)
from data.progress import Progress
from data.speech import manifests as speech_manifests
from data.speech import utterances
from data.splits import SPLITS
from evaluation.asr import test_sets
from evaluation.churn import matured, scoring
from evaluation.reader import test_set
from flows import hearing, judging, leaving, reading, transcribing
from flows.runtime.context import RunContext
from flows.runtime.settings import ROOT
from training.asr import calibration

# --- what we know ---


def simulate(context: RunContext, progress: Progress) -> dict[str, Any]:
    """Writes the simulated export to raw/ and its truth to truth/."""
    from data.simulator import simulate

    return simulate(context.params.simulator, context.path("raw"), context.path("truth"), progress)


def ingest(context: RunContext, progress: Progress) -> dict[str, Any]:
    """Merges the export into tables/ and shards/."""
    from data.ingest import ingest
    from data.sources import read

    delivery = read(context.source, context.raw, context.params.sources)
    return ingest(delivery, context.store, context.now(), progress, context.params.ingest)


def validate(context: RunContext, progress: Progress) -> dict[str, Any]:
    """Lets through to clean/ what keeps the contract; raises ContractBroken when the whole does not."""
    from data.validation import validate

    content = context.delivered("tables")
    return validate(context.store, context.params.validation, content, context.now(), progress)


def version(context: RunContext, progress: Progress) -> dict[str, Any]:
    """Adds clean tables and shards to DVC, pushes them and checks the remote."""
    from data.versioning import version

    made = version(
        context.path("clean"),
        context.path("shards"),
        context.path("versioned"),
        context.settings.dvc_remote,
        context.git_commit,
        context.now(),
        progress=progress,
    )
    write_json(context.path("version.json"), asdict(made))
    return asdict(made)


def split(context: RunContext, progress: Progress) -> dict[str, Any]:
    """Divides customers and contacts by customer and by voice."""
    from data.speech.voices import voice_groups
    from data.splits import assert_disjoint, split

    clean = read_tables(context.path("clean"))
    unnamed = clean["recordings"].filter(pl.col("voice").is_null())
    heard = voice_groups(context.customer_channel(), unnamed, context.params.voices, progress)
    divided, summary = split(
        clean["contacts"], clean["recordings"], clean["customers"], context.params.splits, heard
    )
    assert_disjoint(divided)
    write_table(context.path("splits.parquet"), divided)
    write_json(context.path("split.json"), asdict(summary))
    return asdict(summary)


def cut(context: RunContext, progress: Progress) -> dict[str, Any]:
    """Cuts person-transcribed turns into NeMo manifests, one a split, and accounts for every recorded hour."""
    from data.hours import ledger
    from data.speech.utterances import cut

    clean, params = read_tables(context.path("clean")), context.params.hours
    splits = pl.read_parquet(context.path("splits.parquet"))
    summary = cut(
        utterances.recordings_of(clean),
        clean["turns"],
        splits,
        context.decoded(),
        context.path("speech"),
        progress,
    )
    lines = [{**line, "at": context.now().isoformat()} for line in summary["refused"]]
    write_lines(context.path("quarantine/cut.jsonl"), lines)
    delivered = pl.read_parquet(context.path("tables/recordings.parquet"))
    hours = ledger(delivered, clean["recordings"], summary["ms"], context.path("quarantine"))
    budget = hours.summary(params)
    write_json(context.path("hours.json"), budget)
    hours.hold(params)
    write_json(context.path("cut.json"), summary)
    return {**summary, "lost_share": budget["lost_share"]}


# --- hearing ---


def pseudo(context: RunContext, progress: Progress) -> dict[str, Any]:
    """Leaves pseudo/train.jsonl: what people transcribed and, if pseudo.learn, what the champion heard and is sure of.

    It was heard at the end of the last walk; today's splits and people's transcripts decide again what may be used.
    """
    summary = speech_manifests.add_pseudo(
        read_tables(context.path("clean")),
        pl.read_parquet(context.path("splits.parquet")),
        context.path("speech"),
        context.path("pseudo.parquet"),
        context.path("pseudo"),
        context.decoded(),
        context.params.pseudo,
        progress,
    )
    write_json(context.path("pseudo.json"), summary)
    return summary


def train_asr(context: RunContext, progress: Progress) -> dict[str, Any]:
    """Fine-tunes the recogniser as one MLflow run, adapts it with text and leaves it as the bundle asr/bundle."""
    from data.hours import ledger_of
    from data.leaks import assert_manifests_apart
    from flows import adapting
    from models.asr.decoding import FILES
    from training.asr.finetune import finetune

    params, speech, work = context.params.asr, context.path("speech"), context.path("asr/work")
    base = hearing.base_of(params.base, context.path("asr"))
    train = context.path("pseudo/train.jsonl")
    manifests = {
        name: speech_manifests.lines_of(train if name == "train" else speech / f"{name}.jsonl")
        for name in SPLITS
    }
    splits = pl.read_parquet(context.path("splits.parquet"))
    assert_manifests_apart(manifests, splits)
    params = adapting.with_spoken(context, params, progress)
    with judging.training_run(context, "asr", asdict(params)) as run:
        found = finetune(params, base, train, speech / "valid.jsonl", work, run, progress)
        skipped = found["train"].get("skipped", {})
        hours, heard = (
            ledger_of(read_json(context.path("hours.json"))),
            read_json(context.path("pseudo.json")),
        )
        hours = hours.with_pseudo(heard["added_s"]) if heard["learn"] else hours
        hours = hours.settled({reason: 3600 * entry["hours"] for reason, entry in skipped.items()})
        budget = hours.summary(context.params.hours)
        write_json(context.path("asr/hours.json"), budget)
        run.log_metrics(
            {
                f"hours_{name}": budget[name]
                for name in ("input_h", "train_h", "lost_h", "lost_share")
            }
        )
        run.log_artifact(context.path("asr/hours.json"))
        hours.hold(context.params.hours)
    found |= {"adaptation": adapting.adapt(context, work / "model.nemo", progress)}
    calls = utterances.told(read_tables(context.path("clean")), splits, "valid")
    found |= {
        "confidence": calibration.calibrate(
            work / "model.nemo",
            calls,
            context.decoded(),
            context.params.hearing.segmentation,
            context.path("exports"),
        )
    }
    files = [
        path for name in ("model.nemo", "confidence.json", *FILES) if (path := work / name).exists()
    ]
    return judging.leave_bundle(
        context, "asr", {path.name: path for path in files}, run.run_id, found
    )


def reference_asr(context: RunContext, progress: Progress) -> dict[str, Any]:
    """Names the recogniser to beat (the champion, or the base before there is one) and what reads its text."""
    from flows.probing import leave_readers

    base = hearing.base_of(context.params.asr.base, context.path("asr"))
    leave_readers(context)
    return judging.reference(context, "asr", {"model": "base", "path": str(base)})


def evaluate_asr(context: RunContext, progress: Progress) -> dict[str, Any]:
    """Scores candidate and reference on the same held-out speech, clean, through the telephone, and in general."""
    params = context.params.evaluation
    parts = test_sets.exams(context.path("speech/test.jsonl"), params, ROOT)
    reference = read_json(context.path("reference/asr.json"))
    models = {
        "reference": Path(reference["path"]),
        "candidate": context.path("asr/bundle/model.nemo"),
    }
    cards = {
        role: test_sets.examine(
            path,
            parts,
            judging.name_of(context, "asr", role),
            judging.sha_of(context, "asr", role),
            params,
            context.now(),
            _half(progress, number),
        )
        for number, (role, path) in enumerate(models.items())
    }
    shutil.rmtree(
        context.path("scorecards/asr"), ignore_errors=True
    )  # a part that params no longer name
    for part in sorted(set(parts) - {"test"}):
        judging.leave_beside(
            context, "asr", part, {role: found[part] for role, found in cards.items()}
        )
    return judging.leave_scorecards(
        context, "asr", {role: found["test"] for role, found in cards.items()}
    )


def probe_asr(context: RunContext, progress: Progress) -> dict[str, Any]:
    """Tests the candidate's behaviour, and what reads its text, for the gate."""
    from flows.probing import probe_asr

    return probe_asr(context, progress)


def decide_asr(context: RunContext, progress: Progress) -> dict[str, Any]:
    """Puts the candidate through the gate, smoke test included, and writes the decision record."""
    return judging.decide_on(
        context, "asr", hearing.smoke_sample(context.path("speech/test.jsonl"))
    )


def release_asr(context: RunContext, progress: Progress) -> dict[str, Any]:
    """Registers the candidate and, if the gate accepted it, makes it champion."""
    return judging.release(context, "asr")


def office_asr(context: RunContext, progress: Progress) -> dict[str, Any]:
    """Names the recogniser in office: the champion, whatever the last candidate was."""
    return judging.leave_office(context, "asr")


def transcribe(context: RunContext, progress: Progress) -> dict[str, Any]:
    """Hears the recordings that no person has transcribed, with the recogniser in office, and how all calls went.

    Also sorts what was heard: sure enough for the next training to learn from, or next for a person to review.
    """
    from data.labelling.pseudo import choose
    from evaluation.experience.conversation import conversations

    clean, params = read_tables(context.path("clean")), context.params
    typed = clean["turns"].filter(pl.col("origin") == "person")
    recordings = clean["recordings"].join(typed, on="contact_id", how="anti")
    model, office = judging.in_office(context, "asr"), read_json(context.path("office/asr.json"))
    if model is None:
        raise ValueError(
            "there is no recogniser to hear with. Set asr.base in params.yaml to a .nemo."
        )
    ears = transcribing.Ears(Path(model), context.path("exports"), params.hearing)
    turns, calibrated = transcribing.hear_all(
        ears, recordings, context.path("shards"), transcribing.cores(), progress
    )
    talks = conversations(
        pl.concat([typed, turns.select(typed.columns)]),
        clean["recordings"],
        params.hearing.conversation,
    )
    choice = choose(
        turns, pl.read_parquet(context.path("splits.parquet")), typed, calibrated, params.pseudo
    )
    write_table(context.path("transcripts.parquet"), turns)
    write_table(context.path("conversation.parquet"), talks)
    write_table(context.path("review_queue.parquet"), choice.queue)
    write_table(context.path("pseudo.parquet"), choice.accepted)
    summary = {
        "calls": recordings.height,
        "heard_with": office["model"],
        "says": office.get("says", ""),
        "turns": turns.height,
        "words": int(turns["text"].str.split(" ").list.len().sum()),
        "mean_confidence": turns["confidence"].mean(),
        "calibrated": calibrated,
        "model": transcribing.stamp_of(ears),
        "pseudo": choice.summary,
        "review_queue": choice.queue.height,
    }
    write_json(context.path("transcribe.json"), summary)
    return summary


# --- knowing the customer ---


def label(context: RunContext, progress: Progress) -> dict[str, Any]:
    """Labels every contact by rules, from what people transcribed or wrote, else from what the recogniser heard."""
    from data.labelling import label

    contacts, turns = reading.words(context)
    result = label(contacts, turns, context.params.labelling, progress=progress)
    write_table(context.path("rules.parquet"), result.labels)
    write_table(context.path("beliefs.parquet"), result.beliefs)
    write_json(context.path("label.json"), result.analysis)
    return result.analysis


def train_reader(context: RunContext, progress: Progress) -> dict[str, Any]:
    """Trains the contact reader as one MLflow run and leaves it as the bundle reader/bundle."""
    from data.labelling.scheme import SCHEME
    from training.reader.train import train

    params, work = context.params.reader, context.path("reader/work")
    with judging.training_run(context, "reader", asdict(params)) as run:
        found = train(params, SCHEME, reading.lessons(context), work, run, progress)
    files = {name: work / "model" / name for name in ("weights.safetensors", "config.json")}
    return judging.leave_bundle(context, "reader", files, run.run_id, found)


def reference_reader(context: RunContext, progress: Progress) -> dict[str, Any]:
    """Names the reader to beat: the champion, or the class balance before there is one."""
    return judging.reference(context, "reader", {"model": test_set.BALANCE, "path": None})


def evaluate_reader(context: RunContext, progress: Progress) -> dict[str, Any]:
    """Scores candidate and reference on the same held-out contacts."""
    reference, asked = read_json(context.path("reference/reader.json")), reading.exam(context)
    balance = test_set.balance_of(pl.read_parquet(context.path("beliefs.parquet")))
    cards = {
        role: test_set.score(
            asked,
            None if path is None else Path(path),
            judging.name_of(context, "reader", role),
            judging.sha_of(context, "reader", role),
            balance,
            context.params.evaluation.seed,
            context.now(),
            context.params.reading,
            context.path("truth/contacts.parquet") if role == "candidate" else None,
        )
        for role, path in (
            ("reference", reference["path"]),
            ("candidate", context.path("reader/bundle")),
        )
    }
    return judging.leave_scorecards(context, "reader", cards)


def probe_reader(context: RunContext, progress: Progress) -> dict[str, Any]:
    """Tests the candidate's behaviour for the gate."""
    return reading.probe_reader(context, progress)


def decide_reader(context: RunContext, progress: Progress) -> dict[str, Any]:
    """Puts the candidate through the gate and writes the decision record."""
    return judging.decide_on(context, "reader", reading.smoke_sample(reading.exam(context)))


def release_reader(context: RunContext, progress: Progress) -> dict[str, Any]:
    """Registers the candidate and, if the gate accepted it, makes it champion."""
    return judging.release(context, "reader")


def office_reader(context: RunContext, progress: Progress) -> dict[str, Any]:
    """Names the reader in office: the champion, whatever the last candidate was."""
    return judging.leave_office(context, "reader")


def read(context: RunContext, progress: Progress) -> dict[str, Any]:
    """Leaves labels.parquet: what the rules say, completed by what the reader in office reads."""
    return reading.read(context, progress)


def features(context: RunContext, progress: Progress) -> dict[str, Any]:
    """Point-in-time features: months to learn from, and today to be scored."""
    from data.features.features import as_of_dates, features_in_parts, present, snapshot
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
    checked = leaks.checked(past, divided, tables, params.event)
    rows = write_parts(context.path("features.parquet"), checked)
    there = present(features_in_parts(tables, labels, [today], params), outcomes, params)
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
    with judging.training_run(context, "churn", asdict(params)) as run:
        found = train(
            params, rows, work, run, progress, lead_days=context.params.features.lead_days
        )
    model = work / "model"
    files = {name: model / name for name in ("weights.safetensors", "config.json")}
    return judging.leave_bundle(context, "churn", files, run.run_id, found)


def reference_churn(context: RunContext, progress: Progress) -> dict[str, Any]:
    """Names the churn model to beat: the champion, or the life table before there is one."""
    return judging.reference(context, "churn", {"model": scoring.LIFE_TABLE, "path": None})


def evaluate_churn(context: RunContext, progress: Progress) -> dict[str, Any]:
    """Scores candidate and reference on the same held-out customers."""
    rows = pl.read_parquet(context.path("features.parquet"))
    reference = read_json(context.path("reference/churn.json"))
    cards = {
        role: scoring.score(
            rows,
            path,
            judging.name_of(context, "churn", role),
            judging.sha_of(context, "churn", role),
            context.params.churn.horizons_days,
            context.params.evaluation.seed,
            context.now(),
            scoring.truth(context.path("truth/customers.parquet"), context.params.features),
            context.path("scorecards/churn/predictions.parquet") if role == "candidate" else None,
            context.params.evaluation.campaign,
        )
        for role, path in (
            ("reference", reference["path"]),
            ("candidate", context.path("churn/bundle")),
        )
    }
    return judging.leave_scorecards(context, "churn", cards)


def probe_churn(context: RunContext, progress: Progress) -> dict[str, Any]:
    """Tests the candidate's behaviour for the gate."""
    from flows.probing import probe_churn

    return probe_churn(context, progress)


def decide_churn(context: RunContext, progress: Progress) -> dict[str, Any]:
    """Puts the candidate through the gate, smoke test included, and writes the decision record."""
    return judging.decide_on(
        context, "churn", leaving.smoke_sample(pl.read_parquet(context.path("current.parquet")))
    )


def release_churn(context: RunContext, progress: Progress) -> dict[str, Any]:
    """Registers the candidate and, if the gate accepted it, makes it champion."""
    return judging.release(context, "churn")


def office_churn(context: RunContext, progress: Progress) -> dict[str, Any]:
    """Names the churn model in office: the champion, whatever the last candidate was."""
    return judging.leave_office(context, "churn")


def score(context: RunContext, progress: Progress) -> dict[str, Any]:
    """Scores every present customer by the churn model in office, with reasons and the moments they rest on."""
    model, current = (
        judging.in_office(context, "churn"),
        pl.read_parquet(context.path("current.parquet")),
    )
    scores, reasons = leaving.score_all(model, current)
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
    matured.keep_scores(
        context.path("scored"), scores, read_json(context.path("office/churn.json"))["model"]
    )
    write_table(context.path("reasons.parquet"), reasons)
    summary = {
        "customers": scores.height,
        "mean": {name: scores[name].mean() for name in scores.columns if name.startswith("risk")},
        "unseen": leaving.unseen(model, current),
    }
    write_json(context.path("score.json"), summary)
    return summary


def treat(context: RunContext, progress: Progress) -> dict[str, Any]:
    """Says whom to treat within the budget, from what the log of interventions tells about offers; else by risk."""
    from flows.treating import treat

    clean, office = read_tables(context.path("clean")), judging.in_office(context, "churn")
    found = treat(
        clean,
        pl.read_parquet(context.path("labels.parquet")),
        pl.read_parquet(context.path("current.parquet")),
        Path(office) if office else None,
        context.params.treatment,
        context.params.features,
        progress,
    )
    folder = context.path("treatment")
    shutil.rmtree(folder, ignore_errors=True)  # a model of an earlier log
    write_table(
        folder / "decisions.parquet", pl.DataFrame() if found.decisions is None else found.decisions
    )
    if found.model is not None:
        found.model.save(folder / "model")
    write_table(context.path("treatments.parquet"), found.treatments)
    write_json(context.path("treat.json"), found.summary)
    return {"basis": found.summary["basis"], **found.summary["today"]}


# --- telling ---


def report(context: RunContext, progress: Progress) -> dict[str, Any]:
    """Writes the page of the run."""
    from evaluation.report.run import write_report

    truth = context.path("truth")
    return write_report(
        context.store,
        truth if truth.is_dir() else None,
        context.path("report/index.html"),
        context.decoded(),
        context.now(),
        context.params.report,
    )


def backtest(context: RunContext, progress: Progress) -> dict[str, Any]:
    """Trains on the past and scores on the future, on several days."""
    from flows.backtesting import backtest

    return backtest(context, progress)


# --- watching ---


def nightly(context: RunContext, progress: Progress) -> dict[str, Any]:
    """Scores the champions on the test data of today and holds them against the figures they were promoted with."""
    from flows.watch import watch

    return watch(context, progress)


# --- shared by steps ---


def _half(progress: Progress, number: int) -> Progress:
    """The progress of the first (0) or second (1) of two equal parts."""
    return lambda done, total: progress(number * total + done, 2 * total)
