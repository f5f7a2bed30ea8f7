"""What labelling as known then costs: labels, reader and churn on a finished store, both ways.

`python -m benchmarks.bench_known_then STORE [--out JSON]` reads clean tables, first transcripts,
splits and the simulator's truth of a store, and writes nothing into it. Ways: `pooled` (one label
model fitted on all contacts, one reader trained on all), `as_known` (what the platform does), and
`as_known_old_reader` (the same with a reader trained on the older half of the contacts alone).
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import polars as pl

from data import leaks
from data.features.features import FeatureParams, as_of_dates, features
from data.files import read_tables
from data.labelling import SCHEME, LabellingParams, label
from data.labelling.complete import ReadingParams, merge_with_reader
from data.records import TURNS
from data.splits import customer_splits
from evaluation.churn import scoring
from evaluation.reader import test_set
from evaluation.reader.scorecard import truth_labels
from models.reader import readings
from models.reader.model import Reader
from training.churn import train as churn_training
from training.churn.settings import ChurnTraining
from training.reader import train as reader_training
from training.run import UnrecordedRun

NOW = datetime(2026, 12, 1, tzinfo=UTC)
HALF = datetime(2025, 7, 1, tzinfo=UTC)  # of the demo's two years


def run(store: Path, *, walk_forward: bool, train_before: datetime | None = None) -> dict[str, Any]:
    """Returns the figures of one way, with its features and labels under `_features`, `_labels`."""
    clean = read_tables(store / "clean")
    machine = store / ("heard" if (store / "heard.parquet").exists() else "transcripts")
    heard = pl.read_parquet(machine.with_suffix(".parquet")).select(list(TURNS))
    turns = pl.concat([clean["turns"], heard.join(clean["turns"], on="contact_id", how="anti")])
    contacts, truth = clean["contacts"], pl.read_parquet(store / "truth" / "contacts.parquet")
    splits = customer_splits(pl.read_parquet(store / "splits.parquet"))
    began = time.monotonic()
    ruled = label(contacts, turns, LabellingParams(walk_forward=walk_forward))
    seconds = time.monotonic() - began
    divided = contacts.join(splits, on="customer_id")
    if train_before is not None:
        divided = divided.filter(pl.col("started_at") < train_before)
    examples = {
        side: reader_training.labelled_contacts(
            divided.filter(pl.col("split") == side), turns, ruled.beliefs, labels=SCHEME
        )
        for side in ("train", "valid")
    }
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        reader_training.train(
            reader_training.ReaderTraining(),
            SCHEME,
            examples,
            work_dir=work / "reader",
            run=UnrecordedRun(),
        )
        reader = Reader.load(work / "reader" / "model")
        held_out = test_set.make_test_set(
            contacts.join(splits.filter(pl.col("split") == "test"), on="customer_id", how="semi"),
            clean["turns"],
            ruled.beliefs,
        )
        card = test_set.score(
            held_out,
            work / "reader" / "model",
            name="reader",
            bundle_sha256="",
            balance={},
            seed=7,
            now=NOW,
        )
        read = readings.update_readings(
            None, contacts, turns, reader=reader, model="reader", now=NOW
        )
        params = ReadingParams()
        beliefs = readings.beliefs_of(read, (*params.together, *params.gaps), params.min_familiar)
        labels = merge_with_reader(ruled.labels, ruled.beliefs, beliefs, params=params)
        rows, churn = _churn(clean, labels, splits, work)
    return {
        "label_s": seconds,
        "labels_right": _right(ruled.labels, truth),
        "joined_labels_right": _right(labels, truth),
        "reader_label_errors": card.metrics["label_errors"].value,
        "reader_log_loss": card.metrics["log_loss"].value,
        "churn": churn,
        "_features": rows,
        "_labels": labels,
    }


def _right(labels: pl.DataFrame, truth: pl.DataFrame) -> dict[str, float]:
    true = truth_labels(truth).rename({"value": "true"})
    both = labels.join(true, on=["contact_id", "label"])
    right = (pl.col("value") == pl.col("true")).mean()
    by_label = both.group_by("label").agg(right.alias("right")).sort("label")
    return {"all": both.select(right).item(), **dict(by_label.iter_rows())}


def _churn(
    clean: dict[str, pl.DataFrame],
    labels: pl.DataFrame,
    splits: pl.DataFrame,
    work: Path,
) -> tuple[pl.DataFrame, dict[str, float]]:
    params = FeatureParams()
    months = as_of_dates(clean["outcomes"], clean["contacts"], params)
    tables = {name: table.lazy() for name, table in clean.items()}
    made = features(tables, labels, months, params=params)
    rows = pl.concat(leaks.assert_no_leakage([made], splits, tables=tables, event=params.event))
    churn_training.train(ChurnTraining(epochs=50), rows, work / "churn", run=UnrecordedRun())
    card = scoring.score(
        rows,
        work / "churn" / "model",
        name="churn",
        bundle_sha256="",
        horizons_days=ChurnTraining().horizons_days,
        seed=7,
        now=NOW,
        truth=None,
    )
    return rows, {name: estimate.value for name, estimate in card.metrics.items()}


def moved(one: pl.DataFrame, other: pl.DataFrame, since: date | None = None) -> dict[str, float]:
    """Returns how many feature rows differ between two ways, by the largest difference in a row."""
    numeric = [name for name, dtype in one.schema.items() if dtype == pl.Float64]
    both = one.join(other, on=["customer_id", "as_of"], suffix="_other")
    if since is not None:
        both = both.filter(pl.col("as_of") >= since)
    gap = pl.max_horizontal((pl.col(n) - pl.col(f"{n}_other")).abs() for n in numeric)
    gaps = both.select(gap.alias("gap"))["gap"]
    return {"rows": len(gaps), **{f"over_{x}": int((gaps > x).sum()) for x in (0.001, 0.05, 0.1)}}


def main() -> None:
    """Runs all three ways and prints JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("store", type=Path)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    ways = {
        "pooled": run(arguments.store, walk_forward=False),
        "as_known": run(arguments.store, walk_forward=True),
        "as_known_old_reader": run(arguments.store, walk_forward=True, train_before=HALF),
    }
    result: dict[str, Any] = {
        name: {key: value for key, value in way.items() if not key.startswith("_")}
        for name, way in ways.items()
    }
    rows = {name: way["_features"] for name, way in ways.items()}
    result["features_moved"] = {
        "pooled_to_as_known": moved(rows["pooled"], rows["as_known"]),
        "by_what_the_reader_knew": moved(
            rows["as_known"], rows["as_known_old_reader"], HALF.date()
        ),
    }
    text = json.dumps(result, indent=1, default=str)
    if arguments.out:
        arguments.out.write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
