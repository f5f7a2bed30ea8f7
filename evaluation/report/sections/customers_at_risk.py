"""Report section on the customers most at risk, with reasons and the contacts behind them."""

from __future__ import annotations

from typing import Any

import polars as pl

from evaluation.metrics.churn import horizon_days, risk_columns
from evaluation.report.artefacts import ArtefactReader, MissingArtefactError


def latest_scores(artefacts: ArtefactReader) -> pl.DataFrame:
    """Returns the newest score of each customer: customer_id, as_of, risk columns, and others.

    Raises MissingArtefactError before the stage `score`.
    """
    scores = artefacts.table("scores.parquet", "score")
    if "as_of" in scores.columns:
        scores = scores.sort("as_of").unique("customer_id", keep="last", maintain_order=True)
    return scores


def nearest_risk_column(columns: list[str], days: int) -> str:
    """Returns the risk column whose horizon is nearest to `days`."""
    return min(columns, key=lambda name: abs((horizon_days(name) or days) - days))


def customers_at_risk(
    artefacts: ArtefactReader, most: int, ranking_horizon_days: int
) -> dict[str, Any]:
    """Returns the `most` customers with the highest risk, and how many are expected to leave.

    Raises MissingArtefactError where nobody was scored.
    """
    scores = latest_scores(artefacts)
    columns = risk_columns(scores)
    if not columns:
        raise MissingArtefactError("No churn model is active, so nobody was scored.")
    ranking = nearest_risk_column(columns, ranking_horizon_days)
    top = scores.sort([ranking, "customer_id"], descending=[True, False]).head(most)
    reasons, records = artefacts.table_or_none("reasons.parquet"), _customer_records(artefacts)
    channels = dict(artefacts.records("contacts").select("contact_id", "channel").iter_rows())
    if reasons is None:
        artefacts.notes.append(
            "The stage “score” left no reasons.parquet: risks are shown without reasons."
        )
    return {
        "customers": [
            {
                "customer_id": row["customer_id"],
                "record": records.get(row["customer_id"], {}),
                "risks": [row[name] for name in columns],
                "reasons": []
                if reasons is None
                else _reasons(reasons, row["customer_id"], channels),
            }
            for row in top.iter_rows(named=True)
        ],
        "scored": scores.height,
        "as_of": scores["as_of"].max() if "as_of" in scores.columns else None,
        "horizons": [horizon_days(name) for name in columns],
        "ranked_by": horizon_days(ranking),
        "expected": [
            {"days": horizon_days(name), "leavers": scores[name].sum(), "mean": scores[name].mean()}
            for name in columns
        ],
        "model": _active_model(artefacts),
    }


def _active_model(artefacts: ArtefactReader) -> str | None:
    """Returns the model that scored: the candidate if accepted, else the one it failed to beat."""
    decision = artefacts.json_or_none("decide_churn.json")
    if decision is None:
        return None
    if decision["verdict"] == "accepted":
        return f"the candidate {str(decision['candidate'])[:8]}"
    return str(decision["reference"]["model"])


def _customer_records(artefacts: ArtefactReader) -> dict[str, dict[str, Any]]:
    return {row["customer_id"]: row for row in artefacts.records("customers").iter_rows(named=True)}


def _reasons(
    reasons: pl.DataFrame, customer_id: str, channels: dict[str, str]
) -> list[dict[str, Any]]:
    """Returns what raises the customer's risk, by rank, with the contact it rests on.

    Contact, second and words come from data.features.evidence.
    """
    rows = reasons.filter((pl.col("customer_id") == customer_id) & (pl.col("contribution") > 0))
    if "as_of" in rows.columns:
        rows = rows.filter(pl.col("as_of") == pl.col("as_of").max())
    shown = []
    for row in rows.sort("rank").iter_rows(named=True):
        contact_id = row.get("contact_id")
        contact = {"channel": channels.get(contact_id), **row} if contact_id else None
        shown.append({"sentence": row["sentence"], "contact": contact})
    return shown
