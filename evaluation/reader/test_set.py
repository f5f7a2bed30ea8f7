"""The held-out contacts of the reader, and its scoring."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from data.labelling.complete import ReadingParams, merge_with_reader
from data.labelling.scheme import SCHEME

if TYPE_CHECKING:
    from evaluation.scorecard import Scorecard


# The reference before there is a champion: it knows how common a value is, but does not read.
CLASS_BALANCE = "class balance"


@dataclass(frozen=True)
class TestSet:
    """Held-out contacts with the words people wrote or said in them, and what the label model believes of each."""

    contacts: pl.DataFrame
    turns: pl.DataFrame
    beliefs: pl.DataFrame


def make_test_set(contacts: pl.DataFrame, turns: pl.DataFrame, beliefs: pl.DataFrame) -> TestSet:
    contacts = contacts.join(turns, on="contact_id", how="semi").sort("contact_id")
    return TestSet(
        contacts,
        turns.join(contacts, on="contact_id", how="semi"),
        beliefs.join(contacts, on="contact_id", how="semi"),
    )


def hash_again(beliefs: pl.DataFrame, tables: Mapping[str, pl.DataFrame]) -> str:
    """The hash of the exam that `beliefs` (as `kept`) and the tables of its dataset make."""
    from evaluation.reader.scorecard import hash_of

    contacts = tables["contacts"].join(beliefs, on="contact_id", how="semi")
    again = make_test_set(contacts, tables["turns"], beliefs)
    return hash_of(again.turns, again.beliefs)


def score(
    asked: TestSet,
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
    from evaluation.reader.scorecard import (
        accuracy_by_label,
        argmax_labels,
        hash_of,
        reader_scorecard,
        truth_labels,
    )
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
            rules = argmax_labels(asked.beliefs)
            given = {
                "rules": rules,
                "reader": argmax_labels(read),
                "together": merge_with_reader(rules, asked.beliefs, read, params=params),
            }
            facts["truth"] = {
                who: accuracy_by_label(labels, true, asked.contacts, seed)
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
