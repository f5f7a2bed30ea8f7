"""P9: the share of the attainable Brier skill that churn training reaches on simulated centres.

Each centre is simulated without audio, labelled from its texts, and trained on as the pipeline
does; the truth is read only to evaluate. `true_labels` trains on the simulator's own labels of each
contact instead, which shows what labelling costs. `--customers 3000 10000 --seeds 1`
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import polars as pl

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from data.features.features import FeatureParams, as_of_dates, features
from data.labelling import label
from data.labelling.scheme import FRICTIONS
from data.records import RECORDINGS
from data.simulator import SimulatorParams, simulate
from data.sources import read
from data.splits import SplitParams, customer_splits, split
from evaluation.metrics.churn import attainable_skill
from evaluation.metrics.churn_references import logistic
from models.churn.model import ChurnModel, feature_columns
from training.churn.settings import ChurnTraining
from training.churn.train import train
from training.run import UnrecordedRun


def true_labels(contacts: pl.DataFrame) -> pl.DataFrame:
    """Returns the simulator's own labels of each contact, as LABELS."""
    parts = [
        contacts.select(
            "contact_id",
            pl.lit(f"friction_{name}").alias("label"),
            pl.when(name).then(pl.lit("yes")).otherwise(pl.lit("no")).alias("value"),
        )
        for name in FRICTIONS
    ]
    parts += [
        contacts.select("contact_id", pl.lit(name).alias("label"), pl.col(name).alias("value"))
        for name in ("reason", "barrier", "sentiment")
    ]
    return pl.concat(parts).with_columns(
        pl.lit(1.0).alias("probability"), pl.lit("truth").alias("origin")
    )


def measure_skill(
    tables: dict[str, pl.DataFrame], labels: pl.DataFrame, truth: pl.DataFrame
) -> dict[str, Any]:
    splits, _ = split(
        tables["contacts"], tables["recordings"], tables["customers"], params=SplitParams()
    )
    arguments = FeatureParams()
    days = as_of_dates(tables["outcomes"], tables["contacts"], arguments)
    rows = features(tables, labels, days, params=arguments).join(
        customer_splits(splits), on="customer_id"
    )
    test, params, started = rows.filter(split="test"), ChurnTraining(), time.process_time()
    with tempfile.TemporaryDirectory() as work:
        summary = train(params, rows, Path(work), run=UnrecordedRun())
        risks = ChurnModel.load(Path(summary["model"])).predict(test)
    cpu_s = time.process_time() - started
    logistic_risks = logistic(
        rows.filter((pl.col("split") == "train") & pl.col("event").is_not_null()),
        test,
        feature_columns(rows),
        horizons_days=params.horizons_days,
    )
    return {
        "rows": summary["rows"]["train"],
        "leavers": summary["events"]["train"],
        "features": summary["features"],
        "ensemble": summary["ensemble"],
        "train_cpu_s": round(cpu_s, 1),
        "share": {name: round(value, 3) for name, value in attainable_skill(risks, truth).items()},
        "share_of_logistic": {
            name: round(value, 3) for name, value in attainable_skill(logistic_risks, truth).items()
        },
    }


def main() -> None:
    """Prints the shares a size and seed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--customers", type=int, nargs="+", default=[3000, 10_000])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    arguments = parser.parse_args()
    summary = []
    for customers in arguments.customers:
        for seed in arguments.seeds:
            with tempfile.TemporaryDirectory() as folder:
                raw, truth = Path(folder) / "raw", Path(folder) / "truth"
                simulate(
                    SimulatorParams(seed=seed, customers=customers, calls=0, faults=0), raw, truth
                )
                delivery = read("folder", raw)
                risks, contacts = (
                    pl.read_parquet(truth / f"{name}.parquet") for name in ("customers", "contacts")
                )
            tables = {
                name: getattr(delivery, name)
                for name in ("customers", "contacts", "turns", "outcomes")
            }
            tables["recordings"] = pl.DataFrame(schema=RECORDINGS)  # nothing was recorded
            labels = label(tables["contacts"], tables["turns"]).labels
            summary.append(
                {
                    "customers": customers,
                    "seed": seed,
                    "contacts": tables["contacts"].height,
                    "labelled": measure_skill(tables, labels, risks),
                    "true_labels": measure_skill(tables, true_labels(contacts), risks),
                }
            )
            print(json.dumps(summary[-1]), file=sys.stderr, flush=True)
    print(json.dumps({"benchmark": "P9 attainable skill", "centres": summary}, indent=1))


if __name__ == "__main__":
    main()
