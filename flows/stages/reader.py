"""The stages of the contact reader, from rules to completed labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from data import artefacts
from data.files import read_json, read_tables, write_json, write_table
from data.labelling.scheme import SCHEME
from data.progress import Progress
from data.records import TURNS
from evaluation.reader import test_set
from evaluation.reader.test_set import TestSet, make_test_set
from flows.candidate import active_model, bundles, runs, scorecards
from flows.candidate import probes as candidate_probes
from flows.runtime.context import RunContext
from flows.stages import reader_nightly
from models.kinds import READER
from models.reader.labels import complete_labels

if TYPE_CHECKING:
    from evaluation.monitoring.observed import Observed
    from evaluation.scorecard import Scorecard
    from models.reader.model import Reader
    from models.registry.bundle import Bundle
    from training.reader.train import LabelledContacts


KIND = READER.name
PROBED = 200  # held-out contacts whose words are changed


def contacts_and_turns(context: RunContext) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Returns (contacts, turns).

    Turns are what people transcribed or wrote, and of other calls what the recogniser transcribed.
    """
    clean = read_tables(context.path(artefacts.CLEAN))
    transcribed = pl.read_parquet(context.path(artefacts.TRANSCRIPTS)).select(list(TURNS))
    return clean["contacts"], pl.concat(
        [clean["turns"], transcribed.join(clean["turns"], on="contact_id", how="anti")]
    )


def training_examples(context: RunContext) -> dict[str, LabelledContacts]:
    """Returns the contacts of train and valid customers, with the label model's beliefs."""
    from data.splits import customer_splits
    from training.reader.train import labelled_contacts

    contacts, turns = contacts_and_turns(context)
    beliefs = pl.read_parquet(context.path(artefacts.BELIEFS))
    divided = contacts.join(
        customer_splits(pl.read_parquet(context.path(artefacts.SPLITS))), on="customer_id"
    )
    return {
        side: labelled_contacts(
            divided.filter(pl.col("split") == side), turns, beliefs, labels=SCHEME
        )
        for side in ("train", "valid")
    }


def load_test_set(context: RunContext) -> TestSet:
    """Returns the held-out customers' contacts.

    Machine transcripts are no part of it: the dataset alone brings it back.
    """
    from data.splits import customer_splits

    clean = read_tables(context.path(artefacts.CLEAN))
    customers = customer_splits(pl.read_parquet(context.path(artefacts.SPLITS))).filter(
        pl.col("split") == "test"
    )
    contacts = clean["contacts"].join(customers, on="customer_id", how="semi")
    return make_test_set(contacts, clean["turns"], pl.read_parquet(context.path(artefacts.BELIEFS)))


def probe(context: RunContext, progress: Progress) -> dict[str, Any]:
    """Runs behaviour tests on held-out contacts and returns their summary.

    Writes probes/reader.
    """
    from evaluation.reader.probes import reader_probes
    from models.reader.model import Reader

    candidate_probes.empty_probes_folder(context, KIND)
    held_out = load_test_set(context)
    few = held_out.contacts.gather_every(max(1, held_out.contacts.height // PROBED)).head(PROBED)
    turns = held_out.turns.join(few, on="contact_id", how="semi")
    reader = Reader.load(context.path(artefacts.BUNDLE.of(KIND)))
    probes = reader_probes(
        lambda c, t: reader.probabilities(c, t)[0],
        labels=SCHEME,
        contacts=few,
        turns=turns,
        seed=context.params.evaluation.seed,
    )
    return candidate_probes.write_probes(context, KIND, probes, {})


def read(context: RunContext, progress: Progress) -> dict[str, Any]:
    """Writes labels.parquet and returns a summary.

    It holds the rules' labels, completed by the active reader's.
    """
    contacts, turns = contacts_and_turns(context)
    rules, beliefs = (
        pl.read_parquet(context.path(artefact)) for artefact in (artefacts.RULES, artefacts.BELIEFS)
    )
    labels = complete_labels(
        rules,
        beliefs,
        contacts=contacts,
        turns=turns,
        reader=active_reader(context),
        params=context.params.reading,
    )
    write_table(context.path(artefacts.LABELS), labels)
    changed = labels.join(rules, on=["contact_id", "label", "value"], how="anti")
    summary = {
        "model": read_json(context.path(artefacts.ACTIVE.of(KIND)))["model"],
        "labels": labels.height,
        "changed": changed.height,
        "changed_by_label": dict(changed.group_by("label").len().sort("label").iter_rows()),
    }
    write_json(context.path(artefacts.READ), summary)
    return summary


def active_reader(context: RunContext) -> Reader | None:
    """Returns the active reader, None before there is one."""
    from models.reader.model import Reader

    path = active_model.active_model_path(context, KIND)
    return None if path is None else Reader.load(path)


def load_version(context: RunContext, version: int) -> Reader:
    """Returns a reader of the registry."""
    from models.reader.model import Reader

    return Reader.load(
        context.registry().fetch(KIND, version, context.path(artefacts.FETCHED)).path
    )


def label(context: RunContext, progress: Progress) -> dict[str, Any]:
    """Labels every contact by rules and returns the analysis.

    Rules read what people transcribed or wrote, else what the recogniser transcribed.
    """
    from data.labelling import label

    contacts, turns = contacts_and_turns(context)
    result = label(contacts, turns, context.params.labelling, progress=progress)
    write_table(context.path(artefacts.RULES), result.labels)
    write_table(context.path(artefacts.BELIEFS), result.beliefs)
    write_json(context.path(artefacts.LABEL), result.analysis)
    return result.analysis


def train(context: RunContext, progress: Progress) -> dict[str, Any]:
    """Trains the contact reader as one MLflow run and writes the bundle reader/bundle."""
    from data.labelling.scheme import SCHEME
    from training.reader import train as training

    params, work = (
        context.params.reader,
        context.path(artefacts.WORK.of(KIND).within("work")),
    )
    with runs.training_run(context, KIND, asdict(params)) as run:
        figures = training.train(
            params, SCHEME, training_examples(context), work_dir=work, run=run, progress=progress
        )
    files = {name: work / "model" / name for name in ("weights.safetensors", "config.json")}
    return bundles.write_candidate_bundle(context, KIND, files, run.run_id, figures)


def training_line(summary: dict[str, Any]) -> str:
    """Returns how many contacts it learned from, and which epoch was best."""
    contacts = summary["contacts"]["train"]
    return f"{contacts} contacts, best of {summary['epochs']} passes: {summary['best_epoch']}"


def evaluate(context: RunContext, progress: Progress) -> dict[str, Any]:
    """Scores candidate and reference on the same held-out contacts."""
    contacts = load_test_set(context)
    balance = test_set.class_balance(pl.read_parquet(context.path(artefacts.BELIEFS)))
    truth = context.path(artefacts.TRUTH.within("contacts.parquet"))
    cards = {
        role: test_set.score(
            contacts,
            path,
            name=scorecards.model_name(context, KIND, role),
            bundle_sha256=scorecards.model_checksum(context, KIND, role),
            balance=balance,
            seed=context.params.evaluation.seed,
            now=context.now(),
            params=context.params.reading,
            truth=truth if role == "candidate" else None,
        )
        for role, path in scorecards.models_to_compare(context, KIND).items()
    }
    return scorecards.write_scorecards(context, KIND, cards, contacts.beliefs)


def baseline(context: RunContext) -> dict[str, Any]:
    """Returns the class balance: what a first reader has to beat."""
    return {"model": test_set.CLASS_BALANCE, "path": None}


def smoke_sample(context: RunContext) -> dict[str, Any]:
    """Returns a few held-out contacts for the candidate to read before a release."""
    contacts = load_test_set(context)
    few = contacts.contacts.head(5)
    turns = contacts.turns.join(few, on="contact_id", how="semi")
    return {"contacts": few.select("contact_id", "channel"), "turns": turns}


def smoke_test(context: RunContext, bundle: Path) -> dict[str, Any]:
    """Asks the bundle the smoke sample, as the service would."""
    from models.serving import smoke

    return smoke.smoke_test(bundle, KIND, smoke_sample(context))


def fallback(context: RunContext, decided: Mapping[str, Any]) -> tuple[Path | None, str]:
    """Returns no bundle: a refused reader is never used."""
    return None, ""


def evaluate_new(
    context: RunContext, bundle: Bundle, name: str, contacts: Sequence[str], progress: Progress
) -> Scorecard | None:
    """Returns the scorecard of a registered version on `contacts` that have turns and labels.

    Labels of people count where there are any (reviewed.parquet); else the label model's, as in the
    test set. The facts name the `truth`. None where nothing is labelled.
    """
    reviewed, labelled = (
        context.path(artefacts.REVIEWED),
        context.path(artefacts.BELIEFS),
    )
    if not labelled.exists():
        return None
    beliefs, clean = pl.read_parquet(labelled), read_tables(context.path(artefacts.CLEAN))
    new = pl.DataFrame({"contact_id": list(contacts)}, schema={"contact_id": pl.String})
    known, truth = beliefs.join(new, on="contact_id", how="semi"), "label model"
    if reviewed.exists():
        people = pl.read_parquet(reviewed).join(new, on="contact_id", how="semi")
        known, truth = people.select(known.columns).cast(known.schema), "people"
    held = clean["contacts"].join(known, on="contact_id", how="semi")
    labelled_contacts = make_test_set(held, clean["turns"], known)
    if labelled_contacts.contacts.is_empty():
        return None
    card = test_set.score(
        labelled_contacts,
        bundle.path,
        name=name,
        bundle_sha256=bundle.sha256,
        balance=test_set.class_balance(beliefs),
        seed=context.params.evaluation.seed,
        now=context.now(),
        params=context.params.reading,
    )
    return replace(card, facts={**card.facts, "truth": truth})


def observe(
    context: RunContext, bundle: Bundle, contacts: pl.DataFrame, progress: Progress
) -> Observed:
    """Returns what new contacts are about, and how many of their words are new."""
    return reader_nightly.observe(context, bundle, contacts, progress)


def restore_test_set(context: RunContext, rows: pl.DataFrame, dataset: Path, out: Path) -> str:
    """Writes the beliefs `rows` of the test set to `out`; returns the test set's hash."""
    write_table(out / scorecards.TEST_SET_FILE, rows)
    return test_set.stored_test_set_hash(rows, read_tables(dataset / "tables"))
