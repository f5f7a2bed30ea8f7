"""C6: customers kept and money earned by ways of choosing whom to call back, at equal budget, on simulated centres.

Each centre is simulated without audio, labelled from its texts and walked through ingest's tables as the street does;
the truth is read only to judge. By risk means by the *true* risk, which no model can beat. `in_truth` is for 1,000 of
today's customers; `covered` counts the 95 % intervals of logged policy values that hold the true value; `intervals`
counts customers whose uplift interval holds their true uplift. `--customers 3000 10000 --seeds 31 32 33`
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from data.features.features import FeatureParams, features, snapshot
from data.labelling import label
from data.records import RECORDINGS
from data.simulator import SimulatorParams, simulate
from data.simulator.params import Campaigns
from data.sources import read
from evaluation.churn.treatment import (
    POLICIES,
    compare_policies,
    compare_policies_with_truth,
    treated_shares,
)
from flows.stages.treatment_choice import TreatmentPlan, plan_treatment
from models.churn.treatment import TreatmentParams

BUDGETS = (0.05, 0.10, 0.20)


def centre(customers: int, seed: int) -> tuple[dict[str, pl.DataFrame], pl.DataFrame]:
    """Tables of a simulated centre with a year of call backs, and the truth about them."""
    asked = SimulatorParams(
        seed=seed, customers=customers, calls=0, faults=0, campaigns=Campaigns(months=12)
    )
    with tempfile.TemporaryDirectory() as folder:
        raw, truth = Path(folder) / "raw", Path(folder) / "truth"
        simulate(asked, raw, truth)
        delivery = read("folder", raw)
        known = pl.read_parquet(truth / "treatments.parquet")
    names = ("customers", "contacts", "turns", "outcomes", "interventions")
    tables = {name: getattr(delivery, name) for name in names} | {
        "recordings": pl.DataFrame(schema=RECORDINGS)
    }
    effect = pl.col("risk_180") - pl.col("treated_180")
    return tables, known.select(
        "customer_id", "as_of", pl.col("risk_180").alias("risk"), effect.alias("true_uplift")
    )


def judged(made: TreatmentPlan, truth: pl.DataFrame, params: TreatmentParams) -> dict[str, Any]:
    """Policies in truth today and by the log, at each budget."""
    keys = ["customer_id", "as_of"]
    today = made.treatments.drop("risk").join(truth, on=keys)
    best = today.with_columns(
        pl.col("true_uplift").alias("uplift"),
        (pl.col("true_uplift") * pl.col("worth") - params.cost).alias("expected_profit"),
    )
    logged = made.decisions.drop("risk").join(truth, on=keys)
    held = today.select(pl.col("true_uplift").is_between("uplift_low", "uplift_high").mean()).item()
    found: dict[str, Any] = {
        "correlation": round(float(np.corrcoef(today["uplift"], today["true_uplift"])[0, 1]), 3),
        "intervals": round(held, 3),
        "effect_on_all": {
            "true": round(1000 * logged["true_uplift"].mean(), 2),
            **short(made.summary["effect_on_all"]),
        },
        "budgets": {},
    }
    for budget in BUDGETS:
        asked = replace(params, budget_share=budget)
        by_truth = {one["policy"]: one for one in compare_policies_with_truth(today, asked)}
        knowing = {one["policy"]: one for one in compare_policies_with_truth(best, asked)}
        by_log = {one["policy"]: one for one in compare_policies(logged, asked)["policies"]}
        rows = {}
        for policy in POLICIES:
            chosen, effect = (
                treated_shares(policy, logged, budget),
                logged["true_uplift"].to_numpy(),
            )
            rows[policy] = {
                "in_truth": {
                    name: round(by_truth[policy][name], 2)
                    for name in ("treated_share", "kept", "profit")
                },
                "on_the_log": {
                    "true": round(1000 * float((chosen * effect).mean()), 2),
                    "aipw": short(by_log[policy]["kept_aipw"]),
                    "ipw": short(by_log[policy]["kept_ipw"]),
                },
            }
        for policy in ("uplift", "profit"):
            rows[policy]["knowing_the_truth"] = {
                name: round(knowing[policy][name], 2) for name in ("kept", "profit")
            }
        found["budgets"][f"{budget:.0%}"] = rows
    return found


def short(figure: dict[str, Any]) -> dict[str, float]:
    """Value and ends of an interval."""
    return {name: round(figure[name], 2) for name in ("value", "low", "high")}


def over_all(centres: list[dict[str, Any]]) -> dict[str, Any]:
    """Means over centres, and how many intervals hold the truth."""
    told: dict[str, Any] = {}
    for budget in centres[0]["budgets"]:
        told[budget] = {}
        for policy in POLICIES:
            rows = [one["budgets"][budget][policy] for one in centres]
            told[budget][policy] = {
                name: round(float(np.mean([row["in_truth"][name] for row in rows])), 2)
                for name in ("kept", "profit")
            }
            for kind in ("aipw", "ipw"):
                hits = [
                    row["on_the_log"][kind]["low"]
                    <= row["on_the_log"]["true"]
                    <= row["on_the_log"][kind]["high"]
                    for row in rows
                ]
                told[budget][policy][f"covered_{kind}"] = f"{sum(hits)} of {len(hits)}"
    return told


def main() -> None:
    """Prints each centre and the means a size."""
    ask = argparse.ArgumentParser(description=__doc__)
    ask.add_argument("--customers", type=int, nargs="+", default=[3000, 10_000])
    ask.add_argument("--seeds", type=int, nargs="+", default=[31, 32, 33, 34, 35])
    asked = ask.parse_args()
    params, told = TreatmentParams(), {}
    for customers in asked.customers:
        found = []
        for seed in asked.seeds:
            tables, truth = centre(customers, seed)
            labels = label(tables["contacts"], tables["turns"]).labels
            today = snapshot(tables["outcomes"], tables["contacts"], FeatureParams())
            current = features(tables, labels, [today], FeatureParams())
            began = time.process_time()
            made = plan_treatment(tables, labels, current, None, params, FeatureParams())
            if made.decisions is None:
                raise SystemExit(f"seed {seed}: {made.summary['note']}")
            cpu_s = round(time.process_time() - began, 1)
            found.append(
                {
                    "seed": seed,
                    "cpu_s": cpu_s,
                    "learned_from": made.summary["learned_from"],
                    **judged(made, truth, params),
                }
            )
            print(json.dumps({"customers": customers, **found[-1]}), file=sys.stderr, flush=True)
        told[str(customers)] = {"mean": over_all(found), "centres": found}
    print(
        json.dumps(
            {"benchmark": "C6 whom to treat", "params": vars(params), "customers": told}, indent=1
        )
    )


if __name__ == "__main__":
    main()
