"""The customers most at risk, with reasons and the contact each reason points to."""

from __future__ import annotations

from typing import Any

import polars as pl

from evaluation.metrics.churn import risk_columns
from evaluation.report.artefacts import ArtefactReader, MissingArtefactError


def scores(shelf: ArtefactReader) -> pl.DataFrame:
    """The newest score of each customer: customer_id, as_of, risk columns, whatever else the step wrote."""
    found = shelf.table("scores.parquet", "score")
    if "as_of" in found.columns:
        found = found.sort("as_of").unique("customer_id", keep="last", maintain_order=True)
    return found


def nearest(columns: list[str], horizon_days: int) -> str:
    """The risk column whose horizon is nearest to the one wanted."""
    return min(
        columns,
        key=lambda name: abs(int(name.removeprefix("risk_")) - horizon_days) if "_" in name else 0,
    )


def horizon(column: str) -> int | None:
    """risk_90 → 90; risk (a target without dates) → None."""
    return int(column.removeprefix("risk_")) if column != "risk" else None


def at_risk(shelf: ArtefactReader, most: int, horizon_days: int) -> dict[str, Any]:
    """The `most` customers with the highest risk, each horizon's expected number of leavers, and who serves."""
    found = scores(shelf)
    columns = risk_columns(found)
    if not columns:
        raise MissingArtefactError("No churn model is in office, so nobody was scored.")
    ranking = nearest(columns, horizon_days)
    top = found.sort([ranking, "customer_id"], descending=[True, False]).head(most)
    reasons, names = shelf.table_or_none("reasons.parquet"), _customers(shelf)
    channels = dict(shelf.records("contacts").select("contact_id", "channel").iter_rows())
    if reasons is None:
        shelf.notes.append(
            "The scoring step left no reasons.parquet: risks are shown without reasons."
        )
    customers = []
    for row in top.iter_rows(named=True):
        mine = None if reasons is None else _reasons(reasons, row["customer_id"], channels)
        customers.append(
            {
                "customer_id": row["customer_id"],
                "record": names.get(row["customer_id"], {}),
                "risks": [row[name] for name in columns],
                "reasons": mine or [],
            }
        )
    return {
        "customers": customers,
        "scored": found.height,
        "as_of": found["as_of"].max() if "as_of" in found.columns else None,
        "horizons": [horizon(name) for name in columns],
        "ranked_by": horizon(ranking),
        "expected": [
            {"days": horizon(name), "leavers": found[name].sum(), "mean": found[name].mean()}
            for name in columns
        ],
        "model": _in_office(shelf),
    }


def _in_office(shelf: ArtefactReader) -> str | None:
    """The model that scored: the candidate if it was accepted, else the one it failed to beat."""
    decided = shelf.json_or_none("decide_churn.json")
    if decided is None:
        return None
    if decided["verdict"] == "accepted":
        return f"the candidate {str(decided['candidate'])[:8]}"
    return str(decided["reference"]["model"])


def _customers(shelf: ArtefactReader) -> dict[str, dict[str, Any]]:
    return {row["customer_id"]: row for row in shelf.records("customers").iter_rows(named=True)}


def _reasons(
    reasons: pl.DataFrame, customer_id: str, channels: dict[str, str]
) -> list[dict[str, Any]]:
    """What raises the customer's risk, by rank, with the contact, second and words it rests on (data.evidence)."""
    mine = reasons.filter((pl.col("customer_id") == customer_id) & (pl.col("contribution") > 0))
    if "as_of" in mine.columns:
        mine = mine.filter(pl.col("as_of") == pl.col("as_of").max())
    found = []
    for row in mine.sort("rank").iter_rows(named=True):
        contact_id = row.get("contact_id")
        contact = {"channel": channels.get(contact_id), **row} if contact_id else None
        found.append({"sentence": row["sentence"], "contact": contact})
    return found
