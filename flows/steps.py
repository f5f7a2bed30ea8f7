"""Each stage of the street as a plain function: paths and frozen settings in, files and a small summary out.

No Prefect and no DVC here: both call these functions, through `flows.wiring.run_step`.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl

from data.audio import read as read_audio
from data.packs import contents
from data.splits import SPLITS
from data.store import read_json, read_tables, scan_tables, write_json, write_lines, write_parts, write_table
from flows import exams, hearing, judging, leaving, reading, transcribing
from flows.params import Params
from flows.settings import Settings

Report = Callable[[int, int], None]


@dataclass(frozen=True)
class Street:
    """Everything a step may ask for. `export` is what is taken in; None means the simulator's."""

    settings: Settings
    params: Params
    git_commit: str
    export: Path | None = None
    kind: str = "auto"

    @property
    def store(self) -> Path:
        """The folder all artefacts lie in."""
        return self.settings.store

    def path(self, name: str) -> Path:
        """A path in the store."""
        return self.store / name

    @property
    def raw(self) -> Path:
        """The export that ingest reads."""
        return self.export or self.path("raw")

    def now(self) -> datetime:
        """The present, in UTC. One place, so that tests can hold it still."""
        return datetime.now(UTC)


# --- what we know ---


def simulate(street: Street, progress: Report) -> dict[str, Any]:
    """Writes the simulated export to raw/ and its truth to truth/."""
    from data.simulator import simulate

    return simulate(street.params.simulator, street.path("raw"), street.path("truth"), progress)


def ingest(street: Street, progress: Report) -> dict[str, Any]:
    """Merges the export into tables/ and shards/."""
    from data.ingest import ingest
    from data.sources import read

    delivery = read(street.kind, street.raw, street.params.sources)
    return ingest(delivery, street.store, street.now(), progress, street.params.ingest)


def validate(street: Street, progress: Report) -> dict[str, Any]:
    """Lets through to clean/ what keeps the contract; raises ContractBroken when the whole does not."""
    from data.validation import validate

    content = _delivered(street, "tables")
    return validate(street.store, street.params.validation, content, street.now(), progress)


def version(street: Street, progress: Report) -> dict[str, Any]:
    """Adds clean tables and shards to DVC, pushes them and checks the remote."""
    from data.versioning import version

    made = version(street.path("clean"), street.path("shards"), street.path("versioned"), street.settings.dvc_remote,
                   street.git_commit, street.now(), progress=progress)  # fmt: skip
    write_json(street.path("version.json"), asdict(made))
    return asdict(made)


def split(street: Street, progress: Report) -> dict[str, Any]:
    """Divides customers and contacts by customer and by voice."""
    from data.splits import assert_disjoint, split
    from data.voices import voice_groups

    clean = read_tables(street.path("clean"))
    unnamed = clean["recordings"].filter(pl.col("voice").is_null())
    heard = voice_groups(_customer_channel(street), unnamed, street.params.voices, progress)
    divided, summary = split(clean["contacts"], clean["recordings"], clean["customers"], street.params.splits, heard)
    assert_disjoint(divided)
    write_table(street.path("splits.parquet"), divided)
    write_json(street.path("split.json"), asdict(summary))
    return asdict(summary)


def cut(street: Street, progress: Report) -> dict[str, Any]:
    """Cuts person-transcribed turns into NeMo manifests, one a split, and accounts for every recorded hour."""
    from data.hours import ledger
    from data.utterances import cut

    clean, params = read_tables(street.path("clean")), street.params.hours
    splits = pl.read_parquet(street.path("splits.parquet"))
    summary = cut(exams.recordings_of(clean), clean["turns"], splits, _decoded(street), street.path("speech"), progress)
    lines = [{**line, "at": street.now().isoformat()} for line in summary["refused"]]
    write_lines(street.path("quarantine/cut.jsonl"), lines)
    delivered = pl.read_parquet(street.path("tables/recordings.parquet"))
    hours = ledger(delivered, clean["recordings"], summary["ms"], street.path("quarantine"))
    budget = hours.summary(params)
    write_json(street.path("hours.json"), budget)
    hours.hold(params)
    write_json(street.path("cut.json"), summary)
    return {**summary, "lost_share": budget["lost_share"]}


# --- hearing ---


def pseudo(street: Street, progress: Report) -> dict[str, Any]:
    """Leaves pseudo/train.jsonl: what people transcribed and, if pseudo.learn, what the champion heard and is sure of.

    It was heard at the end of the last walk; today's splits and people's transcripts decide again what may be used.
    """
    summary = transcribing.add_pseudo(
        read_tables(street.path("clean")), pl.read_parquet(street.path("splits.parquet")), street.path("speech"),
        street.path("pseudo.parquet"), street.path("pseudo"), _decoded(street), street.params.pseudo, progress,
    )  # fmt: skip
    write_json(street.path("pseudo.json"), summary)
    return summary


def train_asr(street: Street, progress: Report) -> dict[str, Any]:
    """Fine-tunes the recogniser as one MLflow run, adapts it with text and leaves it as the bundle asr/bundle."""
    from data.hours import ledger_of
    from data.leaks import assert_manifests_apart
    from flows import adapting
    from models.decoding import FILES
    from training.asr import finetune

    params, speech, work = street.params.asr, street.path("speech"), street.path("asr/work")
    base = hearing.base_of(params.base, street.path("asr"))
    train = street.path("pseudo/train.jsonl")
    manifests = {name: hearing.lines_of(train if name == "train" else speech / f"{name}.jsonl") for name in SPLITS}
    splits = pl.read_parquet(street.path("splits.parquet"))
    assert_manifests_apart(manifests, splits)
    params = adapting.with_spoken(street, params, progress)
    with judging.training_run(street, "asr", asdict(params)) as run:
        found = finetune(params, base, train, speech / "valid.jsonl", work, run, progress)
        skipped = found["train"].get("skipped", {})
        hours, heard = ledger_of(read_json(street.path("hours.json"))), read_json(street.path("pseudo.json"))
        hours = hours.with_pseudo(heard["added_s"]) if heard["learn"] else hours
        hours = hours.settled({reason: 3600 * entry["hours"] for reason, entry in skipped.items()})
        budget = hours.summary(street.params.hours)
        write_json(street.path("asr/hours.json"), budget)
        run.log_metrics({f"hours_{name}": budget[name] for name in ("input_h", "train_h", "lost_h", "lost_share")})
        run.log_artifact(street.path("asr/hours.json"))
        hours.hold(street.params.hours)
    found |= {"adaptation": adapting.adapt(street, work / "model.nemo", progress)}
    calls = hearing.told(read_tables(street.path("clean")), splits, "valid")
    found |= {"confidence": hearing.calibrate(work / "model.nemo", calls, _decoded(street),
                                              street.params.hearing.segmentation, street.path("exports"))}  # fmt: skip
    files = [path for name in ("model.nemo", "confidence.json", *FILES) if (path := work / name).exists()]
    return judging.leave_bundle(street, "asr", {path.name: path for path in files}, run.run_id, found)


def reference_asr(street: Street, progress: Report) -> dict[str, Any]:
    """Names the recogniser to beat (the champion, or the base before there is one) and what reads its text."""
    from flows.probing import leave_readers

    base = hearing.base_of(street.params.asr.base, street.path("asr"))
    leave_readers(street)
    return judging.reference(street, "asr", {"model": "base", "path": str(base)})


def evaluate_asr(street: Street, progress: Report) -> dict[str, Any]:
    """Scores candidate and reference on the same held-out speech, clean, through the telephone, and in general."""
    params = street.params.evaluation
    parts = hearing.exams(street.path("speech/test.jsonl"), params)
    reference = read_json(street.path("reference/asr.json"))
    models = {"reference": Path(reference["path"]), "candidate": street.path("asr/bundle/model.nemo")}
    cards = {
        role: hearing.examine(
            path, parts, judging.name_of(street, "asr", role), judging.sha_of(street, "asr", role), params,
            street.now(), _half(progress, number),
        )
        for number, (role, path) in enumerate(models.items())
    }  # fmt: skip
    shutil.rmtree(street.path("scorecards/asr"), ignore_errors=True)  # a part that params no longer name
    for part in sorted(set(parts) - {"test"}):
        judging.leave_beside(street, "asr", part, {role: found[part] for role, found in cards.items()})
    return judging.leave_scorecards(street, "asr", {role: found["test"] for role, found in cards.items()})


def probe_asr(street: Street, progress: Report) -> dict[str, Any]:
    """Tests the candidate's behaviour, and what reads its text, for the gate."""
    from flows.probing import probe_asr

    return probe_asr(street, progress)


def decide_asr(street: Street, progress: Report) -> dict[str, Any]:
    """Puts the candidate through the gate, smoke test included, and writes the decision record."""
    return judging.decide_on(street, "asr", hearing.smoke_sample(street.path("speech/test.jsonl")))


def release_asr(street: Street, progress: Report) -> dict[str, Any]:
    """Registers the candidate and, if the gate accepted it, makes it champion."""
    return judging.release(street, "asr")


def office_asr(street: Street, progress: Report) -> dict[str, Any]:
    """Names the recogniser in office: the champion, whatever the last candidate was."""
    return judging.leave_office(street, "asr")


def transcribe(street: Street, progress: Report) -> dict[str, Any]:
    """Hears the recordings that no person has transcribed, with the recogniser in office, and how all calls went.

    Also sorts what was heard: sure enough for the next training to learn from, or next for a person to review.
    """
    from data.labelling.pseudo import choose
    from evaluation.experience.conversation import conversations

    clean, params = read_tables(street.path("clean")), street.params
    typed = clean["turns"].filter(pl.col("origin") == "person")
    recordings = clean["recordings"].join(typed, on="contact_id", how="anti")
    model, office = judging.in_office(street, "asr"), read_json(street.path("office/asr.json"))
    if model is None:
        raise ValueError("there is no recogniser to hear with. Set asr.base in params.yaml to a .nemo.")
    ears = transcribing.Ears(Path(model), street.path("exports"), params.hearing)
    turns, calibrated = transcribing.hear_all(ears, recordings, street.path("shards"), transcribing.cores(), progress)
    talks = conversations(
        pl.concat([typed, turns.select(typed.columns)]), clean["recordings"], params.hearing.conversation
    )
    choice = choose(turns, pl.read_parquet(street.path("splits.parquet")), typed, calibrated, params.pseudo)
    write_table(street.path("transcripts.parquet"), turns)
    write_table(street.path("conversation.parquet"), talks)
    write_table(street.path("review_queue.parquet"), choice.queue)
    write_table(street.path("pseudo.parquet"), choice.accepted)
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
    write_json(street.path("transcribe.json"), summary)
    return summary


# --- knowing the customer ---


def label(street: Street, progress: Report) -> dict[str, Any]:
    """Labels every contact by rules, from what people transcribed or wrote, else from what the recogniser heard."""
    from data.labelling import label

    contacts, turns = reading.words(street)
    result = label(contacts, turns, street.params.labelling, progress=progress)
    write_table(street.path("rules.parquet"), result.labels)
    write_table(street.path("beliefs.parquet"), result.beliefs)
    write_json(street.path("label.json"), result.analysis)
    return result.analysis


def train_reader(street: Street, progress: Report) -> dict[str, Any]:
    """Trains the contact reader as one MLflow run and leaves it as the bundle reader/bundle."""
    from data.labelling.scheme import SCHEME
    from training.reader import train

    params, work = street.params.reader, street.path("reader/work")
    with judging.training_run(street, "reader", asdict(params)) as run:
        found = train(params, SCHEME, reading.lessons(street), work, run, progress)
    files = {name: work / "model" / name for name in ("weights.safetensors", "config.json")}
    return judging.leave_bundle(street, "reader", files, run.run_id, found)


def reference_reader(street: Street, progress: Report) -> dict[str, Any]:
    """Names the reader to beat: the champion, or the class balance before there is one."""
    return judging.reference(street, "reader", {"model": reading.BALANCE, "path": None})


def evaluate_reader(street: Street, progress: Report) -> dict[str, Any]:
    """Scores candidate and reference on the same held-out contacts."""
    reference, asked = read_json(street.path("reference/reader.json")), reading.exam(street)
    balance = reading.balance_of(pl.read_parquet(street.path("beliefs.parquet")))
    cards = {
        role: reading.score(
            asked, None if path is None else Path(path), judging.name_of(street, "reader", role),
            judging.sha_of(street, "reader", role), balance, street.params.evaluation.seed, street.now(),
            street.params.reading, street.path("truth/contacts.parquet") if role == "candidate" else None,
        )
        for role, path in (("reference", reference["path"]), ("candidate", street.path("reader/bundle")))
    }  # fmt: skip
    return judging.leave_scorecards(street, "reader", cards)


def probe_reader(street: Street, progress: Report) -> dict[str, Any]:
    """Tests the candidate's behaviour for the gate."""
    return reading.probe_reader(street, progress)


def decide_reader(street: Street, progress: Report) -> dict[str, Any]:
    """Puts the candidate through the gate and writes the decision record."""
    return judging.decide_on(street, "reader", reading.smoke_sample(reading.exam(street)))


def release_reader(street: Street, progress: Report) -> dict[str, Any]:
    """Registers the candidate and, if the gate accepted it, makes it champion."""
    return judging.release(street, "reader")


def office_reader(street: Street, progress: Report) -> dict[str, Any]:
    """Names the reader in office: the champion, whatever the last candidate was."""
    return judging.leave_office(street, "reader")


def read(street: Street, progress: Report) -> dict[str, Any]:
    """Leaves labels.parquet: what the rules say, completed by what the reader in office reads."""
    return reading.read(street, progress)


def features(street: Street, progress: Report) -> dict[str, Any]:
    """Point-in-time features: months to learn from, and today to be scored."""
    from data.features import as_of_dates, features_in_parts, snapshot
    from data.splits import customer_splits

    # Read as far as each part needs it, so that a large centre does not have to fit into memory.
    tables, params = scan_tables(street.path("clean")), street.params.features
    labels = pl.scan_parquet(street.path("labels.parquet"))
    outcomes, began = tables["outcomes"].collect(), tables["contacts"].select("started_at").collect()
    months, today = as_of_dates(outcomes, began, params), snapshot(outcomes, began, params)
    divided = customer_splits(pl.read_parquet(street.path("splits.parquet")))
    past = features_in_parts(tables, labels, months, params, progress)
    checked = leaving.checked(past, divided, tables, params.event)
    rows = write_parts(street.path("features.parquet"), checked)
    there = leaving.present(features_in_parts(tables, labels, [today], params), outcomes, params)
    current = write_parts(street.path("current.parquet"), there)
    found = pl.scan_parquet(street.path("features.parquet"))
    customers = found.select(pl.col("customer_id").n_unique()).collect().item()
    summary = {"rows": rows, "customers": customers, "as_of": months, "snapshot": today, "current": current,
               "columns": len(found.collect_schema()), "lead_days": params.lead_days}  # fmt: skip
    write_json(street.path("features.json"), summary)
    return summary


def train_churn(street: Street, progress: Report) -> dict[str, Any]:
    """Trains the churn network as one MLflow run and leaves it as the bundle churn/bundle."""
    from data.leaks import assert_customers_apart
    from training.churn import train

    params, work = street.params.churn, street.path("churn/work")
    rows = pl.read_parquet(street.path("features.parquet"))
    assert_customers_apart(rows)
    with judging.training_run(street, "churn", asdict(params)) as run:
        found = train(params, rows, work, run, progress, lead_days=street.params.features.lead_days)
    model = work / "model"
    files = {name: model / name for name in ("weights.safetensors", "config.json")}
    return judging.leave_bundle(street, "churn", files, run.run_id, found)


def reference_churn(street: Street, progress: Report) -> dict[str, Any]:
    """Names the churn model to beat: the champion, or the life table before there is one."""
    return judging.reference(street, "churn", {"model": leaving.LIFE_TABLE, "path": None})


def evaluate_churn(street: Street, progress: Report) -> dict[str, Any]:
    """Scores candidate and reference on the same held-out customers."""
    rows = pl.read_parquet(street.path("features.parquet"))
    reference = read_json(street.path("reference/churn.json"))
    cards = {
        role: leaving.score(
            rows, path, judging.name_of(street, "churn", role), judging.sha_of(street, "churn", role),
            street.params.churn.horizons_days, street.params.evaluation.seed, street.now(),
            leaving.truth(street.path("truth/customers.parquet"), street.params.features),
            street.path("scorecards/churn/predictions.parquet") if role == "candidate" else None,
            street.params.evaluation.campaign,
        )
        for role, path in (("reference", reference["path"]), ("candidate", street.path("churn/bundle")))
    }  # fmt: skip
    return judging.leave_scorecards(street, "churn", cards)


def probe_churn(street: Street, progress: Report) -> dict[str, Any]:
    """Tests the candidate's behaviour for the gate."""
    from flows.probing import probe_churn

    return probe_churn(street, progress)


def decide_churn(street: Street, progress: Report) -> dict[str, Any]:
    """Puts the candidate through the gate, smoke test included, and writes the decision record."""
    return judging.decide_on(street, "churn", leaving.smoke_sample(pl.read_parquet(street.path("current.parquet"))))


def release_churn(street: Street, progress: Report) -> dict[str, Any]:
    """Registers the candidate and, if the gate accepted it, makes it champion."""
    return judging.release(street, "churn")


def office_churn(street: Street, progress: Report) -> dict[str, Any]:
    """Names the churn model in office: the champion, whatever the last candidate was."""
    return judging.leave_office(street, "churn")


def score(street: Street, progress: Report) -> dict[str, Any]:
    """Scores every present customer by the churn model in office, with reasons and the moments they rest on."""
    model, current = judging.in_office(street, "churn"), pl.read_parquet(street.path("current.parquet"))
    scores, reasons = leaving.score_all(model, current)
    clean = read_tables(street.path("clean"))
    reasons = leaving.with_evidence(
        reasons, scores, clean["contacts"], pl.read_parquet(street.path("labels.parquet")),
        [clean["turns"], pl.read_parquet(street.path("transcripts.parquet"))],
        street.params.features,
    )  # fmt: skip
    write_table(street.path("scores.parquet"), scores)
    leaving.keep_scores(street.path("scored"), scores, read_json(street.path("office/churn.json"))["model"])
    write_table(street.path("reasons.parquet"), reasons)
    summary = {
        "customers": scores.height,
        "mean": {name: scores[name].mean() for name in scores.columns if name.startswith("risk")},
        "unseen": leaving.unseen(model, current),
    }
    write_json(street.path("score.json"), summary)
    return summary


def treat(street: Street, progress: Report) -> dict[str, Any]:
    """Says whom to treat within the budget, from what the log of interventions tells about offers; else by risk."""
    from flows.treating import treat

    clean, office = read_tables(street.path("clean")), judging.in_office(street, "churn")
    found = treat(
        clean, pl.read_parquet(street.path("labels.parquet")), pl.read_parquet(street.path("current.parquet")),
        Path(office) if office else None, street.params.treatment, street.params.features, progress,
    )  # fmt: skip
    folder = street.path("treatment")
    shutil.rmtree(folder, ignore_errors=True)  # a model of an earlier log
    write_table(folder / "decisions.parquet", pl.DataFrame() if found.decisions is None else found.decisions)
    if found.model is not None:
        found.model.save(folder / "model")
    write_table(street.path("treatments.parquet"), found.treatments)
    write_json(street.path("treat.json"), found.summary)
    return {"basis": found.summary["basis"], **found.summary["today"]}


# --- telling ---


def report(street: Street, progress: Report) -> dict[str, Any]:
    """Writes the page of the run."""
    from evaluation.report.run import write_report

    truth = street.path("truth")
    return write_report(street.store, truth if truth.is_dir() else None, street.path("report/index.html"),
                        _decoded(street), street.now(), street.params.report)  # fmt: skip


def backtest(street: Street, progress: Report) -> dict[str, Any]:
    """Trains on the past and scores on the future, on several days."""
    from flows.backtesting import backtest

    return backtest(street, progress)


# --- watching ---


def nightly(street: Street, progress: Report) -> dict[str, Any]:
    """Scores the champions on the test data of today and holds them against the figures they were promoted with."""
    from flows.watch import watch

    return watch(street, progress)


# --- shared by steps ---


def _half(progress: Report, number: int) -> Report:
    """The progress of the first (0) or second (1) of two equal parts."""
    return lambda done, total: progress(number * total + done, 2 * total)


def _delivered(street: Street, tables: str = "clean") -> Callable[[str], bytes]:
    """contact_id → the recording's bytes as delivered."""
    return contents(pl.read_parquet(street.path(tables) / "recordings.parquet"), street.path("shards"))


def _decoded(street: Street) -> Callable[[str], tuple[Any, int]]:
    """contact_id → float32 samples [frames, channels] and their rate in Hz."""
    content = _delivered(street)
    return lambda contact_id: read_audio(content(contact_id), contact_id)


def _customer_channel(street: Street) -> Callable[[str], tuple[Any, int]]:
    """contact_id → the customer's samples [frames] and their rate in Hz."""
    decoded = _decoded(street)
    recordings = pl.read_parquet(street.path("clean") / "recordings.parquet")
    channel = dict(zip(recordings["contact_id"], recordings["customer_channel"], strict=True))

    def customer(contact_id: str) -> tuple[Any, int]:
        samples, rate_hz = decoded(contact_id)
        return samples[:, channel[contact_id]], rate_hz

    return customer
