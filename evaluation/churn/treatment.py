"""Compares treatment policies at equal budget: random, by risk, by uplift, by expected profit."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
import polars as pl

from evaluation.metrics.bootstrap import means
from evaluation.metrics.uplift import aipw_scores, auuc_parts, ipw_scores, qini_parts
from models.churn.treatment import TreatmentParams, choose

RANDOM, RISK, UPLIFT, PROFIT = "random", "risk", "uplift", "profit"
POLICIES = (RANDOM, RISK, UPLIFT, PROFIT)


def treated_shares(policy: str, rows: pl.DataFrame, budget_share: float) -> np.ndarray:
    """Returns whom a policy treats: a share from 0 to 1 for each of `rows`, float64 [rows].

    `rows` has as_of, risk, uplift and expected_profit. The budget is a share of the customers of
    each as-of date. Only uplift and profit may leave some of it unspent: they do not treat whom
    they expect to drive away, or to cost more than to bring.
    """
    if policy == RANDOM:
        return np.full(rows.height, budget_share)
    column, above = {
        RISK: ("risk", -np.inf),
        UPLIFT: ("uplift", 0.0),
        PROFIT: ("expected_profit", 0.0),
    }[policy]
    date = rows["as_of"].to_physical().to_numpy()
    return choose(rows[column].to_numpy(), date, budget_share, above=above).astype(np.float64)


def compare_policies(rows: pl.DataFrame, params: TreatmentParams) -> dict[str, Any]:
    """Estimates what each policy would have kept and earned, from logged, cross-fitted decisions.

    `rows`: customer_id, as_of, offered, propensity, left, weight, risk_untreated, risk_treated,
    risk, uplift, worth, expected_profit. Figures are for 1,000 customers: kept (customers), profit
    (money), each doubly robust and by inverse propensities alone, with 95 % intervals, and their
    gain over choosing by risk.
    """
    kept = {name: 1000 * scores for name, scores in _scores(rows, params).items()}
    earned = {
        name: scores * rows["worth"].to_numpy() - 1000 * params.cost
        for name, scores in kept.items()
    }
    chosen = {policy: treated_shares(policy, rows, params.budget_share) for policy in POLICIES}
    weight, ranking, best = rows["weight"].to_numpy(), rows["uplift"].to_numpy(), kept["aipw"]
    parts = {
        "effect_on_all": best,
        "auuc": auuc_parts(ranking, best, weight),
        "qini": qini_parts(ranking, best, weight),
        "qini_of_risk": qini_parts(rows["risk"].to_numpy(), best, weight),
    }
    for policy, treated in chosen.items():
        for what, scores in (("kept", kept), ("profit", earned)):
            parts |= {f"{policy} {what}_{name}": treated * scores[name] for name in scores}
            parts[f"{policy} {what}_gain_over_risk"] = (treated - chosen[RISK]) * scores["aipw"]
    customer = rows["customer_id"].to_numpy()
    figures = {
        name: asdict(interval)
        for name, interval in means(parts, weight, customer, seed=params.seed).items()
    }
    policies = [
        {"policy": policy, "treated_share": float(np.average(treated, weights=weight))}
        | {
            name.split()[1]: figure
            for name, figure in figures.items()
            if name.startswith(f"{policy} ")
        }
        for policy, treated in chosen.items()
    ]
    return {
        "policies": policies,
        **{name: figure for name, figure in figures.items() if " " not in name},
        "clipped": rows.filter(
            ~pl.col("propensity").is_between(params.clip, 1 - params.clip)
        ).height,
    }


def uplift_by_fifth(rows: pl.DataFrame, params: TreatmentParams) -> list[dict[str, Any]]:
    """Returns predicted and measured uplift in five groups of decisions, highest predicted first.

    `rows` as for `compare_policies`. The measured uplift is doubly robust, with its interval
    (sorted group average treatment effects: Chernozhukov et al., 2025).
    """
    scores, weight = _scores(rows, params)["aipw"], rows["weight"].to_numpy()
    customer, uplift = rows["customer_id"].to_numpy(), rows["uplift"].to_numpy()
    groups = []
    for part in np.array_split(np.argsort(-uplift, kind="stable"), 5):
        measured = means({"effect": scores[part]}, weight[part], customer[part], seed=params.seed)[
            "effect"
        ]
        predicted = float(np.average(uplift[part], weights=weight[part]))
        groups.append(
            {"decisions": len(part), "predicted": predicted, "measured": asdict(measured)}
        )
    return groups


def compare_policies_with_truth(
    rows: pl.DataFrame, params: TreatmentParams
) -> list[dict[str, Any]]:
    """Returns what each policy keeps and earns for 1,000 customers, given the true uplift.

    `rows` as for `treated_shares`, with worth and true_uplift.
    """
    true_uplift = rows["true_uplift"].to_numpy()
    earned = true_uplift * rows["worth"].to_numpy() - params.cost
    policies = []
    for policy in POLICIES:
        chosen = treated_shares(policy, rows, params.budget_share)
        policies.append(
            {
                "policy": policy,
                "treated_share": float(chosen.mean()),
                "kept": float(1000 * (chosen * true_uplift).mean()),
                "profit": float(1000 * (chosen * earned).mean()),
            }
        )
    return policies


def _scores(rows: pl.DataFrame, params: TreatmentParams) -> dict[str, np.ndarray]:
    """Returns each decision's effect in customers kept, by both estimators, float64 [rows]."""
    offered, left = rows["offered"].to_numpy(), rows["left"].to_numpy().astype(np.float64)
    propensity = np.clip(rows["propensity"].to_numpy(), params.clip, 1 - params.clip)
    untreated, treated = rows["risk_untreated"].to_numpy(), rows["risk_treated"].to_numpy()
    return {
        "aipw": aipw_scores(offered, propensity, left, untreated=untreated, treated=treated),
        "ipw": ipw_scores(offered, propensity, left),
    }
