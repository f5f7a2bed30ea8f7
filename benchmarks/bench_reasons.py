"""How stable reasons and their evidence are: the share that stays when features or labels are shaken a little.

A simulated centre is labelled and learned from as the street does. Then every number is multiplied by 1 + noise
(`--noise 0.01`), or every label's probability moved by up to twice as much, and the held-out customers' first reasons
are compared with those before: the group, the feature, and for any reason that stays the contact named as evidence.
Reasons that move the risk by less than `--least` say nothing and are left out.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
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
from training.churn.backtest import Unrecorded
from training.churn.train import ChurnTraining, train


def main() -> None:
    """Prints the shares a kind of noise."""
    ask = argparse.ArgumentParser(description=__doc__)
    ask.add_argument("--customers", type=int, default=1000)
    ask.add_argument("--seed", type=int, default=1)
    ask.add_argument("--noise", type=float, default=0.01)
    ask.add_argument("--least", type=float, default=0.005)
    asked = ask.parse_args()
    rng, params = np.random.default_rng(asked.seed), FeatureParams()
    with tempfile.TemporaryDirectory() as folder:
        raw, truth = Path(folder) / "raw", Path(folder) / "truth"
        simulate(
            SimulatorParams(
                seed=asked.seed, customers=asked.customers, calls=0, faults=0, futures=2
            ),
            raw,
            truth,
        )
        delivery = read("folder", raw)
        tables = {
            name: getattr(delivery, name) for name in ("customers", "contacts", "turns", "outcomes")
        }
        labels = label(tables["contacts"], tables["turns"]).labels
        divided, _ = split(
            tables["contacts"],
            pl.DataFrame(schema=RECORDINGS),
            tables["customers"],
            params=SplitParams(),
        )
        days, sides = (
            as_of_dates(tables["outcomes"], tables["contacts"], params),
            customer_splits(divided),
        )
        rows = features(tables, labels, days, params=params).join(sides, on="customer_id")
        model = ChurnModel.load(
            Path(train(ChurnTraining(), rows, Path(folder) / "work", Unrecorded())["model"])
        )

    def reasons(frame: pl.DataFrame, told: pl.DataFrame) -> pl.DataFrame:
        shown = model.reasons(frame).filter(pl.col("contribution").abs() >= asked.least)
        return find_evidence(
            shown,
            contacts=tables["contacts"],
            labels=told,
            turns=tables["turns"],
            params=params,
            rules=[],
        )

    exam = rows.filter(pl.col("split") == "test", pl.col("as_of") == days[-1])
    before = reasons(exam, labels)
    numbers = [name for name in feature_columns(exam) if exam.schema[name].is_numeric()]
    shaken = exam.with_columns(
        pl.col(name) * pl.Series(1 + rng.normal(0, asked.noise, exam.height)) for name in numbers
    )
    moved = pl.Series(rng.uniform(-2 * asked.noise, 2 * asked.noise, labels.height))
    unsure = labels.with_columns((pl.col("probability") + moved).clip(0, 1).alias("probability"))
    again = features(tables, unsure, days[-1:], params=params).join(
        exam.select("customer_id"), on="customer_id", how="semi"
    )

    def kept(after: pl.DataFrame) -> dict[str, Any]:
        both = before.filter(rank=1).join(
            after.filter(rank=1), on="customer_id", how="left", suffix="_after"
        )
        named = before.drop_nulls("contact_id").join(
            after, on=["customer_id", "feature"], suffix="_after"
        )
        found = {
            name: both[name].eq_missing(both[f"{name}_after"]) for name in ("group", "feature")
        }
        found["contact"] = named["contact_id"].eq_missing(named["contact_id_after"])
        return {
            name: {"same": round(float(same.sum() / len(same)), 4), "of": len(same)}
            for name, same in found.items()
        }

    print(
        json.dumps(
            {
                "benchmark": "stability of reasons",
                "customers": asked.customers,
                "seed": asked.seed,
                "noise": asked.noise,
                "features_shaken": kept(reasons(shaken, labels)),
                "labels_shaken": kept(reasons(again, unsure)),
            },
            indent=1,
        )
    )


if __name__ == "__main__":
    main()
