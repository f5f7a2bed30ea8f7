"""A small centre's written contacts and a reader that learned from what the rules believe of them,
made once a run.
"""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path

import polars as pl

from data.labelling import SCHEME, label
from data.simulator import SimulatorParams, simulate
from data.sources import read
from models.reader.model import Reader
from training.reader.train import LabelledContacts, ReaderTraining, labelled_contacts, train

SMALL = ReaderTraining(bits=14, width=32, epochs=8, batch_size=64, max_contacts=1200)


class Unrecorded:
    """A run that keeps the metrics logged to it."""

    run_id = "none"

    def __init__(self) -> None:
        self.metrics: list[dict[str, float]] = []

    def log_metrics(self, metrics: dict[str, float], step: int) -> None:
        self.metrics.append(metrics)


@cache
def a_centre() -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """Contacts, turns and truth of a simulated centre without recordings."""
    with tempfile.TemporaryDirectory() as folder:
        raw, truth = Path(folder) / "raw", Path(folder) / "truth"
        simulate(SimulatorParams(seed=11, customers=400, calls=0, faults=0, futures=5), raw, truth)
        delivery = read("folder", raw)
        return delivery.contacts, delivery.turns, pl.read_parquet(truth / "contacts.parquet")


@cache
def beliefs() -> pl.DataFrame:
    """What the rules believe of the centre's contacts, queue and history included."""
    contacts, turns, _ = a_centre()
    return label(contacts, turns).beliefs


@cache
def training_examples() -> dict[str, LabelledContacts]:
    """The centre's customers divided: six of ten to learn from, one to calibrate on, three held
    out.
    """
    contacts, turns, _ = a_centre()
    tenth = contacts["customer_id"].str.extract(r"(\d)$").cast(pl.Int64)
    side = pl.select(
        pl.when(tenth < 6)
        .then(pl.lit("train"))
        .when(tenth < 7)
        .then(pl.lit("valid"))
        .otherwise(pl.lit("test"))
    )
    divided = contacts.with_columns(side.to_series().alias("split"))
    return {
        name: labelled_contacts(divided.filter(split=name), turns, beliefs(), labels=SCHEME)
        for name in ("train", "valid", "test")
    }


@cache
def a_reader() -> Reader:
    """A reader trained on the centre."""
    with tempfile.TemporaryDirectory() as folder:
        summary = train(SMALL, SCHEME, training_examples(), work_dir=Path(folder), run=Unrecorded())
        return Reader.load(Path(summary["model"]))


def a_message(
    *messages: tuple[str, str] | str, channel: str = "chat", name: str = "k"
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """One contact and its turns; words alone are the customer's."""
    turns = [("customer", words) if isinstance(words, str) else words for words in messages]
    rows = [(name, number, role, words) for number, (role, words) in enumerate(turns)]
    schema = {"contact_id": pl.String, "turn": pl.Int32, "role": pl.String, "text": pl.String}
    return pl.DataFrame({"contact_id": [name], "channel": [channel]}), pl.DataFrame(
        rows, schema=schema, orient="row"
    )
