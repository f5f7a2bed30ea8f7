"""The contact reader's side of the street: what it learns from, its exam, and what it adds to everyone's labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from data.files import read_json, read_tables, write_json, write_table
from data.labelling.complete import ReadingParams, complete
from data.labelling.scheme import SCHEME
from data.progress import Progress
from data.records import TURNS
from flows import judging, probing
from models.reader.labels import with_reader

if TYPE_CHECKING:
    from evaluation.scorecard import Scorecard
    from flows.runtime.context import RunContext
    from models.reader.model import Reader
    from training.reader import Lesson

BALANCE = "class balance"  # the reference before there is a champion: knows how common a value is, but does not read
PROBED = 200  # held-out contacts whose words are changed


@dataclass(frozen=True)
class Exam:
    """Held-out contacts with the words people wrote or said in them, and what the label model believes of each."""

    contacts: pl.DataFrame
    turns: pl.DataFrame
    beliefs: pl.DataFrame


def words(context: RunContext) -> tuple[pl.DataFrame, pl.DataFrame]:
    """(contacts, turns): what people transcribed or wrote, and of other calls what the recogniser heard."""
    clean = read_tables(context.path("clean"))
    heard = pl.read_parquet(context.path("transcripts.parquet")).select(list(TURNS))
    return clean["contacts"], pl.concat(
        [clean["turns"], heard.join(clean["turns"], on="contact_id", how="anti")]
    )


def lessons(context: RunContext) -> dict[str, Lesson]:
    """What the train and valid customers said, with the label model's beliefs about it."""
    from data.splits import customer_splits
    from training.reader import lesson

    contacts, turns = words(context)
    beliefs = pl.read_parquet(context.path("beliefs.parquet"))
    divided = contacts.join(
        customer_splits(pl.read_parquet(context.path("splits.parquet"))), on="customer_id"
    )
    return {
        side: lesson(divided.filter(pl.col("split") == side), turns, beliefs, SCHEME)
        for side in ("train", "valid")
    }


def exam(context: RunContext) -> Exam:
    """The held-out customers' contacts. What a recogniser heard is no part of it: the dataset alone brings it back."""
    from data.splits import customer_splits

    clean = read_tables(context.path("clean"))
    held = customer_splits(pl.read_parquet(context.path("splits.parquet"))).filter(
        pl.col("split") == "test"
    )
    contacts = clean["contacts"].join(held, on="customer_id", how="semi")
    return _exam(contacts, clean["turns"], pl.read_parquet(context.path("beliefs.parquet")))


def _exam(contacts: pl.DataFrame, turns: pl.DataFrame, beliefs: pl.DataFrame) -> Exam:
    contacts = contacts.join(turns, on="contact_id", how="semi").sort("contact_id")
    return Exam(
        contacts,
        turns.join(contacts, on="contact_id", how="semi"),
        beliefs.join(contacts, on="contact_id", how="semi"),
    )


def kept(context: RunContext) -> pl.DataFrame:
    """What, with the dataset, makes the exam again: the beliefs that had to be met."""
    return exam(context).beliefs


def hash_again(beliefs: pl.DataFrame, tables: Mapping[str, pl.DataFrame]) -> str:
    """The hash of the exam that `beliefs` (as `kept`) and the tables of its dataset make."""
    from evaluation.reader import hash_of

    contacts = tables["contacts"].join(beliefs, on="contact_id", how="semi")
    again = _exam(contacts, tables["turns"], beliefs)
    return hash_of(again.turns, again.beliefs)


def score(
    asked: Exam,
    model: Path | None,
    name: str,
    bundle_sha256: str,
    balance: Mapping[str, np.ndarray],
    seed: int,
    now: datetime,
    params: ReadingParams = ReadingParams(),
    truth: Path | None = None,
) -> Scorecard:
    """Scores the bundle at `model` (None: the class `balance`, [values] a label) on an exam.

    With the simulator's `truth` the facts tell how often the rules, the reader and both together were right.
    """
    from evaluation.reader import hash_of, likeliest, reader_scorecard, right_share, truth_labels
    from models.reader.model import Reader

    facts: dict[str, Any] = {}
    if model is None:
        chances = {
            label: np.tile(share, (asked.contacts.height, 1)) for label, share in balance.items()
        }
    else:
        reader = Reader.load(model)
        chances, familiar = reader.probabilities(asked.contacts, asked.turns)
        facts = {"parameters": reader.parameters, "familiar": float(familiar.mean())}
        if truth is not None and truth.is_file():
            true, read = (
                truth_labels(pl.read_parquet(truth)),
                reader.beliefs_of(asked.contacts, chances, familiar),
            )
            rules = likeliest(asked.beliefs)
            given = {
                "rules": rules,
                "reader": likeliest(read),
                "together": complete(rules, asked.beliefs, read, params),
            }
            facts["truth"] = {
                who: right_share(labels, true, asked.contacts, seed)
                for who, labels in given.items()
            }
    return reader_scorecard(
        name,
        hash_of(asked.turns, asked.beliefs),
        asked.contacts,
        asked.beliefs,
        chances,
        SCHEME,
        seed,
        now.isoformat(),
        bundle_sha256,
        facts,
    )


def balance_of(beliefs: pl.DataFrame) -> dict[str, np.ndarray]:
    """The mean belief in each value, label by label, over all contacts; equal where nothing is believed."""
    mean = {
        (label, value): share
        for label, value, share in beliefs.group_by("label", "value")
        .agg(pl.col("probability").mean())
        .iter_rows()
    }
    found = {}
    for label, values in SCHEME.items():
        shares = np.array([mean.get((label, value), 0.0) for value in values])
        found[label] = (
            shares / shares.sum() if shares.sum() > 0 else np.full(len(values), 1 / len(values))
        )
    return found


def smoke_sample(asked: Exam) -> dict[str, Any]:
    """A few held-out contacts for the candidate to read before a release."""
    few = asked.contacts.head(5)
    turns = asked.turns.join(few, on="contact_id", how="semi")
    return {"contacts": few.select("contact_id", "channel"), "turns": turns}


def probe_reader(context: RunContext, progress: Progress) -> dict[str, Any]:
    """Writes probes/reader: behaviour tests on held-out contacts."""
    from evaluation.behaviour import reader_probes
    from models.reader.model import Reader

    probing.emptied(context, "reader")
    asked = exam(context)
    few = asked.contacts.gather_every(max(1, asked.contacts.height // PROBED)).head(PROBED)
    turns = asked.turns.join(few, on="contact_id", how="semi")
    reader = Reader.load(context.path("reader/bundle"))
    probes = reader_probes(
        lambda c, t: reader.probabilities(c, t)[0],
        SCHEME,
        few,
        turns,
        context.params.evaluation.seed,
    )
    return probing.leave(context, "reader", probes, {})


def read(context: RunContext, progress: Progress) -> dict[str, Any]:
    """Writes labels.parquet: the rules' labels, completed by what the reader in office reads."""
    contacts, turns = words(context)
    rules, beliefs = (
        pl.read_parquet(context.path(f"{name}.parquet")) for name in ("rules", "beliefs")
    )
    labels = with_reader(
        rules, beliefs, contacts, turns, in_office(context), context.params.reading
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


def in_office(context: RunContext) -> Reader | None:
    """The reader that reads until further notice, None before there is one."""
    from models.reader.model import Reader

    path = judging.in_office(context, "reader")
    return None if path is None else Reader.load(Path(path))


def of_version(context: RunContext, version: int) -> Reader:
    """A reader of the registry."""
    from models.reader.model import Reader

    return Reader.load(context.registry().fetch("reader", version, context.path("reference")).path)
