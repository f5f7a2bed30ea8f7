"""Whom to treat: what each way of choosing keeps and earns at equal budget, and who is chosen today."""

from __future__ import annotations

from typing import Any

import polars as pl

from evaluation.churn.treatment import POLICIES, compare_with_truth
from evaluation.report.artefacts import ArtefactReader
from models.churn.treatment import TreatmentParams

NAMES = {
    "random": "By lot",
    "risk": "By risk",
    "uplift": "By uplift",
    "profit": "By expected profit",
}


def treatment(shelf: ArtefactReader, most: int) -> dict[str, Any]:
    """Policies at equal budget on the log, the same in truth where there is one, and the first `most` to treat."""
    told = shelf.json("treat.json", "treat")
    rows = shelf.table("treatments.parquet", "treat")
    if told["note"]:
        shelf.notes.append(told["note"])
    policies = {one["policy"]: one for one in told.get("policies", [])}
    listed = rows.filter("treat").head(most)
    return {
        **told,
        "by_uplift": told["basis"] == "uplift",
        "kind": rows["kind"][0] if rows.height else None,
        "policies": [
            {"name": NAMES[name], **policies[name]} for name in POLICIES if name in policies
        ],
        "truth": _truth(shelf, rows, told),
        "customers": listed.to_dicts(),
    }


def _truth(
    shelf: ArtefactReader, rows: pl.DataFrame, told: dict[str, Any]
) -> list[dict[str, Any]] | None:
    """What each policy would keep and earn today; None where nobody knows, as in every real contact centre."""
    true, days = shelf.true("treatments.parquet"), told["horizon_days"]
    if true is None or told["basis"] != "uplift" or f"treated_{days}" not in true.columns:
        return None
    effect = (pl.col(f"risk_{days}") - pl.col(f"treated_{days}")).alias("true_uplift")
    both = rows.join(
        true.select("customer_id", "as_of", effect), on=["customer_id", "as_of"], how="inner"
    )
    if both.is_empty():
        return None
    costs = TreatmentParams(
        budget_share=told["budget_share"], cost_contact=both["cost"][0], cost_offer=0.0
    )
    return [{"name": NAMES[one["policy"]], **one} for one in compare_with_truth(both, costs)]
