"""The customers most at risk, with reasons and the contact each reason points to."""

from __future__ import annotations

import re
from typing import Any

import polars as pl

from data.records import CHANNELS
from evaluation.experience.worth_hearing import marks
from evaluation.metrics.churn import risk_columns
from evaluation.report.sections.contacts import LIKELY
from evaluation.report.shelf import NotThere, Shelf

_WINDOW = re.compile(r"^(.+?)_(?:\d+d|decayed)$")


def scores(shelf: Shelf) -> pl.DataFrame:
    """The newest score of each customer: customer_id, as_of, risk columns, whatever else the step wrote."""
    found = shelf.table("scores.parquet", "score")
    if "as_of" in found.columns:
        found = found.sort("as_of").unique("customer_id", keep="last", maintain_order=True)
    return found


def nearest(columns: list[str], horizon_days: int) -> str:
    """The risk column whose horizon is nearest to the one wanted."""
    return min(columns, key=lambda name: abs(int(name.removeprefix("risk_")) - horizon_days) if "_" in name else 0)


def horizon(column: str) -> int | None:
    """risk_90 → 90; risk (a target without dates) → None."""
    return int(column.removeprefix("risk_")) if column != "risk" else None


def at_risk(shelf: Shelf, most: int, horizon_days: int) -> dict[str, Any]:
    """The `most` customers with the highest risk, each horizon's expected number of leavers, and who serves."""
    found = scores(shelf)
    columns = risk_columns(found)
    if not columns:
        raise NotThere("No churn model is in office, so nobody was scored.")
    ranking = nearest(columns, horizon_days)
    top = found.sort([ranking, "customer_id"], descending=[True, False]).head(most)
    reasons, history, names = shelf.table_or_none("reasons.parquet"), _history(shelf), _customers(shelf)
    if reasons is None:
        shelf.notes.append("The scoring step left no reasons.parquet: risks are shown without reasons.")
    customers = []
    for row in top.iter_rows(named=True):
        mine = None if reasons is None else _reasons(reasons, row["customer_id"], history)
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
            {"days": horizon(name), "leavers": found[name].sum(), "mean": found[name].mean()} for name in columns
        ],
        "model": _in_office(shelf),
    }


def _in_office(shelf: Shelf) -> str | None:
    """The model that scored: the candidate if it was accepted, else the one it failed to beat."""
    decided = shelf.json_or_none("decide_churn.json")
    if decided is None:
        return None
    if decided["verdict"] == "accepted":
        return f"the candidate {str(decided['candidate'])[:8]}"
    return str(decided["reference"]["model"])


def _customers(shelf: Shelf) -> dict[str, dict[str, Any]]:
    return {row["customer_id"]: row for row in shelf.records("customers").iter_rows(named=True)}


def _history(shelf: Shelf) -> pl.DataFrame:
    """Contacts, newest first, with the marks likely to be on each (list), its reason and sentiment."""
    contacts = shelf.records("contacts").sort("started_at", descending=True)
    labels = shelf.table_or_none("labels.parquet")
    if labels is None:
        return contacts.with_columns(pl.lit(None, pl.List(pl.String)).alias("marks"))
    plain = labels.filter(
        ~pl.col("label").str.starts_with("friction_") & (pl.col("probability") >= LIKELY)
    ).select("contact_id", pl.format("{}_{}", "label", "value").alias("mark"))  # fmt: skip
    likely = marks(labels).filter(pl.col("p") >= LIKELY).select("contact_id", "mark")
    on = pl.concat([plain, likely]).unique().sort("mark").group_by("contact_id").agg(pl.col("mark").alias("marks"))
    return contacts.join(on, on="contact_id", how="left", maintain_order="left")


def _reasons(reasons: pl.DataFrame, customer_id: str, history: pl.DataFrame) -> list[dict[str, Any]]:
    """What raises the customer's risk, by rank, with the newest contact that each feature counts."""
    mine = reasons.filter((pl.col("customer_id") == customer_id) & (pl.col("contribution") > 0))
    if "as_of" in mine.columns:
        mine = mine.filter(pl.col("as_of") == pl.col("as_of").max())
    past = history.filter(pl.col("customer_id") == customer_id)
    return [
        {"sentence": row["sentence"], "contact": evidence(row["feature"], past)}
        for row in mine.sort("rank").iter_rows(named=True)
    ]


def evidence(feature: str, past: pl.DataFrame) -> dict[str, Any] | None:
    """The contact behind a feature of data/features.py, out of a customer's contacts (newest first), or None.

    A sum points to the newest contact that it counts; a feature about the customer record points to none.
    """
    window = _WINDOW.match(feature)
    base = window.group(1) if window else feature
    marked = pl.col("marks").list.contains(base).fill_null(False)
    if re.match(r"(friction|reason|sentiment|barrier)_", base):
        counted = past.filter(marked)
    elif base.startswith("contacts_") and base.removeprefix("contacts_") in CHANNELS:
        counted = past.filter(pl.col("channel") == base.removeprefix("contacts_"))
    elif base in ("friction", "worst_episode", "days_since_last_friction"):
        of_friction = pl.col("marks").list.eval(pl.element().str.starts_with("friction_")).list.sum().fill_null(0)
        counted = past.filter(of_friction > 0)
        if base == "worst_episode":
            counted = counted.sort(of_friction, descending=True, maintain_order=True)
    elif base in ("wait_s", "longest_wait_s"):
        counted = past.filter(pl.col("wait_s") > 0).sort("wait_s", descending=True, maintain_order=True)
    elif base in ("contacts", "talk_s", "repeated_contacts", "channel_switches", "days_since_last_contact",
                  "last_channel", "last_reason"):  # fmt: skip
        counted = past
    else:
        return None
    found = counted.select("contact_id", "channel", "started_at").head(1).to_dicts()
    return found[0] if found else None
