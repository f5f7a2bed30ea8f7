"""C6: customers kept and profit by treatment policy at equal budget, on simulated centres.

Each centre is simulated without audio, labelled from its texts and taken through ingest's tables as
the pipeline does; the truth is read only to evaluate. By risk means by the *true* risk, which no
model can beat. `in_truth` is for 1,000 of today's customers; `covered` counts the 95 % intervals of
logged policy values that hold the true value; `intervals` counts customers whose uplift interval
holds their true uplift. `--customers 3000 10000 --seeds 31 32 33`
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


def simulate_centre(customers: int, seed: int) -> tuple[dict[str, pl.DataFrame], pl.DataFrame]:
    """Returns tables of a simulated centre with a year of call backs, and their true effects."""
    settings = SimulatorParams(
        seed=seed, customers=customers, calls=0, faults=0, campaigns=Campaigns(months=12)
    )
    with tempfile.TemporaryDirectory() as folder:
        raw, truth = Path(folder) / "raw", Path(folder) / "truth"
        simulate(settings, raw, truth)
        delivery = read("folder", raw)
        effects = pl.read_parquet(truth / "treatments.parquet")
    names = ("customers", "contacts", "turns", "outcomes", "interventions")
    tables = {name: getattr(delivery, name) for name in names} | {
        "recordings": pl.DataFrame(schema=RECORDINGS)
    }
    effect = pl.col("risk_180") - pl.col("treated_180")
    return tables, effects.select(
        "customer_id", "as_of", pl.col("risk_180").alias("risk"), effect.alias("true_uplift")
    )


def score_policies(
    plan: TreatmentPlan, truth: pl.DataFrame, params: TreatmentParams
) -> dict[str, Any]:
    """Returns the value of each policy at each budget: in truth today, and estimated by the log."""
    keys = ["customer_id", "as_of"]
    today = plan.treatments.drop("risk").join(truth, on=keys)
    best_possible = today.with_columns(
        pl.col("true_uplift").alias("uplift"),
        (pl.col("true_uplift") * pl.col("worth") - params.cost).alias("expected_profit"),
    )
    if plan.decisions is None:
        raise ValueError(plan.summary["note"])
    logged = plan.decisions.drop("risk").join(truth, on=keys)
    covered: float = today.select(
        pl.col("true_uplift").is_between("uplift_low", "uplift_high").mean()
    ).item()
    true_effect: float = logged.select(pl.col("true_uplift").mean()).item()
    results: dict[str, Any] = {
        "correlation": round(float(np.corrcoef(today["uplift"], today["true_uplift"])[0, 1]), 3),
        "intervals": round(covered, 3),
        "effect_on_all": {
            "true": round(1000 * true_effect, 2),
            **to_dict(plan.summary["effect_on_all"]),
        },
        "budgets": {},
    }
    for budget in BUDGETS:
        at_budget = replace(params, budget_share=budget)
        by_truth = {row["policy"]: row for row in compare_policies_with_truth(today, at_budget)}
        by_best = {
            row["policy"]: row for row in compare_policies_with_truth(best_possible, at_budget)
        }
        by_log = {row["policy"]: row for row in compare_policies(logged, at_budget)["policies"]}
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
                    "aipw": to_dict(by_log[policy]["kept_aipw"]),
                    "ipw": to_dict(by_log[policy]["kept_ipw"]),
                },
            }
        for policy in ("uplift", "profit"):
            rows[policy]["knowing_the_truth"] = {
                name: round(by_best[policy][name], 2) for name in ("kept", "profit")
            }
        results["budgets"][f"{budget:.0%}"] = rows
    return results


def to_dict(figure: dict[str, Any]) -> dict[str, float]:
    """Returns value and ends of an interval, rounded."""
    return {name: round(figure[name], 2) for name in ("value", "low", "high")}


def summarize(centres: list[dict[str, Any]]) -> dict[str, Any]:
    """Returns means over centres, and how many intervals hold the truth."""
    summary: dict[str, Any] = {}
    for budget in centres[0]["budgets"]:
        summary[budget] = {}
        for policy in POLICIES:
            rows = [centre["budgets"][budget][policy] for centre in centres]
            summary[budget][policy] = {
                name: round(float(np.mean([row["in_truth"][name] for row in rows])), 2)
                for name in ("kept", "profit")
            }
            for estimator in ("aipw", "ipw"):
                hits = [
                    row["on_the_log"][estimator]["low"]
                    <= row["on_the_log"]["true"]
                    <= row["on_the_log"][estimator]["high"]
                    for row in rows
                ]
                summary[budget][policy][f"covered_{estimator}"] = f"{sum(hits)} of {len(hits)}"
    return summary


def main() -> None:
    """Prints each centre and the means a size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--customers", type=int, nargs="+", default=[3000, 10_000])
    parser.add_argument("--seeds", type=int, nargs="+", default=[31, 32, 33, 34, 35])
    arguments = parser.parse_args()
    params, summary = TreatmentParams(), {}
    for customers in arguments.customers:
        results = []
        for seed in arguments.seeds:
            tables, truth = simulate_centre(customers, seed)
            labels = label(tables["contacts"], tables["turns"]).labels
            today = snapshot(tables["outcomes"], tables["contacts"], FeatureParams())
            current = features(tables, labels, [today], params=FeatureParams())
            started = time.process_time()
            plan = plan_treatment(
                tables,
                labels,
                current,
                churn_model=None,
                params=params,
                feature_params=FeatureParams(),
            )
            if plan.decisions is None:
                raise SystemExit(f"seed {seed}: {plan.summary['note']}")
            cpu_s = round(time.process_time() - started, 1)
            results.append(
                {
                    "seed": seed,
                    "cpu_s": cpu_s,
                    "learned_from": plan.summary["learned_from"],
                    **score_policies(plan, truth, params),
                }
            )
            print(json.dumps({"customers": customers, **results[-1]}), file=sys.stderr, flush=True)
        summary[str(customers)] = {"mean": summarize(results), "centres": results}
    print(
        json.dumps(
            {"benchmark": "C6 whom to treat", "params": vars(params), "customers": summary},
            indent=1,
        )
    )


if __name__ == "__main__":
    main()
