"""Stability of reasons: the share that stays when features or labels are perturbed a little.

A simulated centre is labelled and trained on as the pipeline does. Then every number is multiplied
by 1 + noise (`--noise 0.01`), or every label's probability changed by up to twice as much, and the
held-out customers' first reasons are compared with those before: the group, the feature, and for
any reason that stays the contact named as evidence. Reasons that change the risk by less than
`--least` are left out.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from data.features.evidence import find_evidence
from data.features.features import FeatureParams, as_of_dates, features
from data.labelling import label
from data.records import RECORDINGS
from data.simulator import SimulatorParams, simulate
from data.sources import read
from data.splits import SplitParams, customer_splits, split
from models.churn.model import ChurnModel, feature_columns
from training.churn.settings import ChurnTraining
from training.churn.train import train
from training.run import UnrecordedRun

PARAMS = FeatureParams()


@dataclass(frozen=True)
class Centre:
    """A simulated centre and a churn model trained on it."""

    tables: dict[str, pl.DataFrame]
    labels: pl.DataFrame
    days: list[date]  # as-of dates
    rows: pl.DataFrame  # a feature frame with a column split
    model: ChurnModel


def simulate_centre(customers: int, seed: int) -> Centre:
    """Simulates a centre, labels its contacts and trains a churn model, as the pipeline does."""
    with tempfile.TemporaryDirectory() as folder:
        raw, truth = Path(folder) / "raw", Path(folder) / "truth"
        params = SimulatorParams(seed=seed, customers=customers, calls=0, faults=0, futures=2)
        simulate(params, raw, truth)
        delivery = read("folder", raw)
        tables = {
            name: getattr(delivery, name) for name in ("customers", "contacts", "turns", "outcomes")
        }
        labels = label(tables["contacts"], tables["turns"]).labels
        splits, _ = split(
            tables["contacts"],
            pl.DataFrame(schema=RECORDINGS),
            tables["customers"],
            params=SplitParams(),
        )
        days = as_of_dates(tables["outcomes"], tables["contacts"], PARAMS)
        rows = features(tables, labels, days, params=PARAMS).join(
            customer_splits(splits), on="customer_id"
        )
        summary = train(ChurnTraining(), rows, Path(folder) / "work", run=UnrecordedRun())
        model = ChurnModel.load(Path(summary["model"]))
    return Centre(tables, labels, days, rows, model)


def share_unchanged(before: pl.DataFrame, after: pl.DataFrame) -> dict[str, Any]:
    """Returns the shares of first reasons and of contacts named as evidence that stay the same."""
    first = before.filter(rank=1).join(
        after.filter(rank=1), on="customer_id", how="left", suffix="_after"
    )
    with_contact = before.drop_nulls("contact_id").join(
        after, on=["customer_id", "feature"], suffix="_after"
    )
    unchanged = {
        name: first[name].eq_missing(first[f"{name}_after"]) for name in ("group", "feature")
    }
    unchanged["contact"] = with_contact["contact_id"].eq_missing(with_contact["contact_id_after"])
    return {
        name: {"same": round(float(same.sum() / len(same)), 4), "of": len(same)}
        for name, same in unchanged.items()
    }


def main() -> None:
    """Prints the shares for noise in features and in labels."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--customers", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--noise", type=float, default=0.01)
    parser.add_argument("--least", type=float, default=0.005)
    arguments = parser.parse_args()
    rng, noise = np.random.default_rng(arguments.seed), arguments.noise
    centre = simulate_centre(arguments.customers, arguments.seed)
    tables, labels = centre.tables, centre.labels

    def reasons(frame: pl.DataFrame, contact_labels: pl.DataFrame) -> pl.DataFrame:
        large = centre.model.reasons(frame).filter(pl.col("contribution").abs() >= arguments.least)
        return find_evidence(
            large,
            contacts=tables["contacts"],
            labels=contact_labels,
            turns=tables["turns"],
            params=PARAMS,
            rules=[],
        )

    last_day = centre.days[-1]
    test = centre.rows.filter(pl.col("split") == "test", pl.col("as_of") == last_day)
    before = reasons(test, labels)
    numeric = [name for name in feature_columns(test) if test.schema[name].is_numeric()]
    perturbed = test.with_columns(
        pl.col(name) * pl.Series(1 + rng.normal(0, noise, test.height)) for name in numeric
    )
    shift = pl.Series(rng.uniform(-2 * noise, 2 * noise, labels.height))
    perturbed_labels = labels.with_columns(
        (pl.col("probability") + shift).clip(0, 1).alias("probability")
    )
    recomputed = features(tables, perturbed_labels, [last_day], params=PARAMS).join(
        test.select("customer_id"), on="customer_id", how="semi"
    )
    print(
        json.dumps(
            {
                "benchmark": "stability of reasons",
                "customers": arguments.customers,
                "seed": arguments.seed,
                "noise": noise,
                "features_shaken": share_unchanged(before, reasons(perturbed, labels)),
                "labels_shaken": share_unchanged(before, reasons(recomputed, perturbed_labels)),
            },
            indent=1,
        )
    )


if __name__ == "__main__":
    main()
