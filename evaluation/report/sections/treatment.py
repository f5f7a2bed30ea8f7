"""Report section on treatment: what each policy keeps and earns, and who is chosen today."""

from __future__ import annotations

from typing import Any

import polars as pl

from evaluation.churn.treatment import POLICIES, compare_policies_with_truth
from evaluation.report.artefacts import ArtefactReader
from models.churn.treatment import TreatmentParams

NAMES = {
    "random": "By lot",
    "risk": "By risk",
    "uplift": "By uplift",
    "profit": "By expected profit",
}


def treatment_summary(artefacts: ArtefactReader, most: int) -> dict[str, Any]:
    """Returns the policies at equal budget on the log, and the first `most` customers to treat.

    With the same policies under the true uplift, where there is a simulator's truth.
    """
    summary = artefacts.json("treat.json", "treat")
    rows = artefacts.table("treatments.parquet", "treat")
    if summary["note"]:
        artefacts.notes.append(summary["note"])
    policies = {policy["policy"]: policy for policy in summary.get("policies", [])}
    listed = rows.filter("treat").head(most)
    return {
        **summary,
        "by_uplift": summary["basis"] == "uplift",
        "kind": rows["kind"][0] if rows.height else None,
        "policies": [
            {"name": NAMES[name], **policies[name]} for name in POLICIES if name in policies
        ],
        "truth": _policies_with_truth(artefacts, rows, summary),
        "customers": listed.to_dicts(),
    }


def _policies_with_truth(
    artefacts: ArtefactReader, rows: pl.DataFrame, summary: dict[str, Any]
) -> list[dict[str, Any]] | None:
    """Returns what each policy would keep and earn today; None without a simulator's truth."""
    truth, days = artefacts.ground_truth("treatments.parquet"), summary["horizon_days"]
    if truth is None or summary["basis"] != "uplift" or f"treated_{days}" not in truth.columns:
        return None
    effect = (pl.col(f"risk_{days}") - pl.col(f"treated_{days}")).alias("true_uplift")
    both = rows.join(
        truth.select("customer_id", "as_of", effect), on=["customer_id", "as_of"], how="inner"
    )
    if both.is_empty():
        return None
    costs = TreatmentParams(
        budget_share=summary["budget_share"], cost_contact=both["cost"][0], cost_offer=0.0
    )
    return [
        {"name": NAMES[policy["policy"]], **policy}
        for policy in compare_policies_with_truth(both, costs)
    ]
