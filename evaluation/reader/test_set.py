"""The held-out contacts of the reader, and its scores on them."""

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
    """Held-out contacts, their turns, and what the label model believes of each."""

    contacts: pl.DataFrame
    turns: pl.DataFrame
    beliefs: pl.DataFrame


def make_test_set(contacts: pl.DataFrame, turns: pl.DataFrame, beliefs: pl.DataFrame) -> TestSet:
    """Returns the test set of those `contacts` that have turns, in order of contact_id."""
    contacts = contacts.join(turns, on="contact_id", how="semi").sort("contact_id")
    return TestSet(
        contacts,
        turns.join(contacts, on="contact_id", how="semi"),
        beliefs.join(contacts, on="contact_id", how="semi"),
    )


def stored_test_set_hash(beliefs: pl.DataFrame, tables: Mapping[str, pl.DataFrame]) -> str:
    """Returns the hash of the test set made of stored `beliefs` and the tables of its dataset."""
    from evaluation.reader.scorecard import test_set_hash

    contacts = tables["contacts"].join(beliefs, on="contact_id", how="semi")
    test_set = make_test_set(contacts, tables["turns"], beliefs)
    return test_set_hash(test_set.turns, test_set.beliefs)


def score(
    test_set: TestSet,
    model: Path | None,
    *,
    name: str,
    bundle_sha256: str,
    balance: Mapping[str, np.ndarray],
    seed: int,
    now: datetime,
    params: ReadingParams = ReadingParams(),
    truth: Path | None = None,
) -> Scorecard:
    """Scores the bundle at `model` (None: the class `balance`, [values] a label) on a test set.

    With the simulator's `truth` the facts tell how often the rules, the reader and both together
    were right.
    """
    from evaluation.reader.scorecard import reader_scorecard, test_set_hash
    from models.reader.model import Reader

    contacts = test_set.contacts
    facts: dict[str, Any] = {}
    if model is None:
        probabilities = {
            label: np.tile(shares, (contacts.height, 1)) for label, shares in balance.items()
        }
    else:
        reader = Reader.load(model)
        probabilities, familiar = reader.probabilities(contacts, test_set.turns)
        facts = {"parameters": reader.parameters, "familiar": float(familiar.mean())}
        if truth is not None and truth.is_file():
            beliefs = reader.beliefs_of(contacts, probabilities, familiar)
            facts["truth"] = _accuracies(
                test_set, beliefs, pl.read_parquet(truth), params=params, seed=seed
            )
    return reader_scorecard(
        contacts,
        test_set.beliefs,
        probabilities,
        labels=SCHEME,
        model=name,
        data_hash=test_set_hash(test_set.turns, test_set.beliefs),
        seed=seed,
        created_at=now.isoformat(),
        bundle_sha256=bundle_sha256,
        facts=facts,
    )


def _accuracies(
    test_set: TestSet,
    reader_beliefs: pl.DataFrame,
    truth: pl.DataFrame,
    *,
    params: ReadingParams,
    seed: int,
) -> dict[str, Any]:
    """Returns the accuracy by label of the rules, of the reader, and of both together."""
    from evaluation.reader.scorecard import accuracy_by_label, argmax_labels, truth_labels

    rules = argmax_labels(test_set.beliefs)
    labels = {
        "rules": rules,
        "reader": argmax_labels(reader_beliefs),
        "together": merge_with_reader(rules, test_set.beliefs, reader_beliefs, params=params),
    }
    true_labels = truth_labels(truth)
    return {
        name: accuracy_by_label(given, true_labels, test_set.contacts, seed=seed)
        for name, given in labels.items()
    }


def class_balance(beliefs: pl.DataFrame) -> dict[str, np.ndarray]:
    """Returns the mean belief in each value over all contacts: label → float64 [values].

    Equal shares for a label without any belief.
    """
    mean = {
        (label, value): share
        for label, value, share in beliefs.group_by("label", "value")
        .agg(pl.col("probability").mean())
        .iter_rows()
    }
    balance = {}
    for label, values in SCHEME.items():
        shares = np.array([mean.get((label, value), 0.0) for value in values])
        balance[label] = (
            shares / shares.sum() if shares.sum() > 0 else np.full(len(values), 1 / len(values))
        )
    return balance
