"""The stages of the contact reader, from rules to completed labels."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from data.files import read_json, read_tables, write_json, write_table
from data.labelling.scheme import SCHEME
from data.progress import Progress
from data.records import TURNS
from evaluation.reader import test_set
from evaluation.reader.test_set import TestSet, make_test_set
from flows.candidate import active_model, bundles, decision, release, runs, scorecards
from flows.candidate import probes as candidate_probes
from flows.runtime.context import RunContext
from models.reader.labels import with_reader

if TYPE_CHECKING:
    from models.reader.model import Reader
    from training.reader.train import LabelledContacts


PROBED = 200  # held-out contacts whose words are changed


def contacts_and_turns(context: RunContext) -> tuple[pl.DataFrame, pl.DataFrame]:
    """(contacts, turns): what people transcribed or wrote, and of other calls what the recogniser heard."""
    clean = read_tables(context.path("clean"))
    heard = pl.read_parquet(context.path("transcripts.parquet")).select(list(TURNS))
    return clean["contacts"], pl.concat(
        [clean["turns"], heard.join(clean["turns"], on="contact_id", how="anti")]
    )


def training_examples(context: RunContext) -> dict[str, LabelledContacts]:
    """What the train and valid customers said, with the label model's beliefs about it."""
    from data.splits import customer_splits
    from training.reader.train import labelled_contacts

    contacts, turns = contacts_and_turns(context)
    beliefs = pl.read_parquet(context.path("beliefs.parquet"))
    divided = contacts.join(
        customer_splits(pl.read_parquet(context.path("splits.parquet"))), on="customer_id"
    )
    return {
        side: labelled_contacts(divided.filter(pl.col("split") == side), turns, beliefs, SCHEME)
        for side in ("train", "valid")
    }


def load_test_set(context: RunContext) -> TestSet:
    """The held-out customers' contacts. What a recogniser heard is no part of it: the dataset alone brings it back."""
    from data.splits import customer_splits

    clean = read_tables(context.path("clean"))
    held = customer_splits(pl.read_parquet(context.path("splits.parquet"))).filter(
        pl.col("split") == "test"
    )
    contacts = clean["contacts"].join(held, on="customer_id", how="semi")
    return make_test_set(contacts, clean["turns"], pl.read_parquet(context.path("beliefs.parquet")))


def test_set_rows(context: RunContext) -> pl.DataFrame:
    """What, with the dataset, makes the exam again: the beliefs that had to be met."""
    return load_test_set(context).beliefs


def smoke_sample(asked: TestSet) -> dict[str, Any]:
    """A few held-out contacts for the candidate to read before a release."""
    few = asked.contacts.head(5)
    turns = asked.turns.join(few, on="contact_id", how="semi")
    return {"contacts": few.select("contact_id", "channel"), "turns": turns}


def probe_reader(context: RunContext, progress: Progress) -> dict[str, Any]:
    """Writes probes/reader: behaviour tests on held-out contacts."""
    from evaluation.reader.probes import reader_probes
    from models.reader.model import Reader

    candidate_probes.empty_probes_folder(context, "reader")
    asked = load_test_set(context)
    few = asked.contacts.gather_every(max(1, asked.contacts.height // PROBED)).head(PROBED)
    turns = asked.turns.join(few, on="contact_id", how="semi")
    reader = Reader.load(context.path("reader/bundle"))
    probes = reader_probes(
        lambda c, t: reader.probabilities(c, t)[0],
        labels=SCHEME,
        contacts=few,
        turns=turns,
        seed=context.params.evaluation.seed,
    )
    return candidate_probes.write_probes(context, "reader", probes, {})


def read(context: RunContext, progress: Progress) -> dict[str, Any]:
    """Writes labels.parquet: the rules' labels, completed by what the reader in office reads."""
    contacts, turns = contacts_and_turns(context)
    rules, beliefs = (
        pl.read_parquet(context.path(f"{name}.parquet")) for name in ("rules", "beliefs")
    )
    labels = with_reader(
        rules, beliefs, contacts, turns, active_reader(context), context.params.reading
    )
    write_table(context.path("labels.parquet"), labels)
    changed = labels.join(rules, on=["contact_id", "label", "value"], how="anti")
    summary = {
        "model": read_json(context.path("office/reader.json"))["model"],
        "labels": labels.height,
        "changed": changed.height,
        "changed_by_label": dict(changed.group_by("label").len().sort("label").iter_rows()),
    }
    write_json(context.path("read.json"), summary)
    return summary


def active_reader(context: RunContext) -> Reader | None:
    """The reader that reads until further notice, None before there is one."""
    from models.reader.model import Reader

    path = active_model.active_model_path(context, "reader")
    return None if path is None else Reader.load(Path(path))


def load_version(context: RunContext, version: int) -> Reader:
    """A reader of the registry."""
    from models.reader.model import Reader

    return Reader.load(context.registry().fetch("reader", version, context.path("reference")).path)


def label(context: RunContext, progress: Progress) -> dict[str, Any]:
    """Labels every contact by rules, from what people transcribed or wrote, else from what the recogniser heard."""
    from data.labelling import label

    contacts, turns = contacts_and_turns(context)
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
    with runs.training_run(context, "reader", asdict(params)) as run:
        found = train(params, SCHEME, training_examples(context), work, run, progress)
    files = {name: work / "model" / name for name in ("weights.safetensors", "config.json")}
    return bundles.write_candidate_bundle(context, "reader", files, run.run_id, found)


def reference_reader(context: RunContext, progress: Progress) -> dict[str, Any]:
    """Names the reader to beat: the champion, or the class balance before there is one."""
    return scorecards.reference(context, "reader", {"model": test_set.CLASS_BALANCE, "path": None})


def evaluate_reader(context: RunContext, progress: Progress) -> dict[str, Any]:
    """Scores candidate and reference on the same held-out contacts."""
    reference, asked = read_json(context.path("reference/reader.json")), load_test_set(context)
    balance = test_set.class_balance(pl.read_parquet(context.path("beliefs.parquet")))
    cards = {
        role: test_set.score(
            asked,
            None if path is None else Path(path),
            name=scorecards.model_name(context, "reader", role),
            bundle_sha256=scorecards.model_checksum(context, "reader", role),
            balance=balance,
            seed=context.params.evaluation.seed,
            now=context.now(),
            params=context.params.reading,
            truth=context.path("truth/contacts.parquet") if role == "candidate" else None,
        )
        for role, path in (
            ("reference", reference["path"]),
            ("candidate", context.path("reader/bundle")),
        )
    }
    return scorecards.write_scorecards(context, "reader", cards)


def decide_reader(context: RunContext, progress: Progress) -> dict[str, Any]:
    """Puts the candidate through the gate and writes the decision record."""
    return decision.decide(context, "reader", smoke_sample(load_test_set(context)))


def release_reader(context: RunContext, progress: Progress) -> dict[str, Any]:
    """Registers the candidate and, if the gate accepted it, makes it champion."""
    return release.release(context, "reader")


def office_reader(context: RunContext, progress: Progress) -> dict[str, Any]:
    """Names the reader in office: the champion, whatever the last candidate was."""
    return active_model.write_active_model(context, "reader")
