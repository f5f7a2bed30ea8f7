"""What contacts were about: reasons, friction, sentiment, and how far the labelling functions agree."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from data.features.features import FRICTIONS
from evaluation.experience.monitoring_plan import contact_features, plain_mark
from evaluation.report.artefacts import ArtefactReader
from evaluation.report.formatting import title

LIKELY = 0.5  # a mark counts as there from this probability on


def about(shelf: ArtefactReader) -> dict[str, Any]:
    """Shares of contacts a reason, friction mark, sentiment and barrier, with the truth beside them where there is one;
    and what label.json says of the labelling functions."""
    labels = shelf.table("labels.parquet", "label")
    contacts = labels["contact_id"].n_unique()
    truth = shelf.true("contacts.parquet")
    if truth is not None:
        truth = truth.join(labels.select("contact_id").unique(), on="contact_id", how="semi")
    troubled = contact_features(labels).filter(
        pl.col("mark").str.starts_with("friction_") & (pl.col("p") >= LIKELY)
    )
    return {
        "contacts": contacts,
        "friction_share": troubled["contact_id"].n_unique() / contacts if contacts else None,
        "has_truth": truth is not None,
        "reasons": _classes(labels, "reason", truth),
        "sentiments": _classes(labels, "sentiment", truth),
        "barriers": _classes(labels, "barrier", truth),
        "frictions": _frictions(labels, truth),
        "rules": rules(shelf.json_or_none("label.json") or {}),
    }


def _classes(labels: pl.DataFrame, label: str, truth: pl.DataFrame | None) -> list[dict[str, Any]]:
    """Each value's share of the contacts that have this label, likeliest value a contact."""
    rows = (
        labels.filter(pl.col("label") == label)
        .sort("contact_id", "probability", "value", descending=[False, True, False])
        .unique("contact_id", keep="first", maintain_order=True)["value"]
        .value_counts()
        .sort(["count", "value"], descending=[True, False])
    )
    true = {}
    if truth is not None and label in truth.columns and truth.height:
        true = dict(truth[label].cast(pl.String).value_counts(normalize=True).iter_rows())
    return [
        {
            "name": title(value),
            "count": count,
            "share": count / rows["count"].sum(),
            "true_share": true.get(value, 0.0) if true else None,
        }
        for value, count in rows.iter_rows()
    ]


def _frictions(labels: pl.DataFrame, truth: pl.DataFrame | None) -> list[dict[str, Any]]:
    """Share of contacts on which each mark is likely."""
    found = {
        mark: (count, count / contacts)
        for mark, count, contacts in contact_features(labels)
        .filter(pl.col("mark").str.starts_with("friction_"))
        .group_by("mark")
        .agg((pl.col("p") >= LIKELY).sum().alias("count"), pl.len().alias("contacts"))
        .iter_rows()
    }
    rows = []
    for mark in [*FRICTIONS, *sorted(set(found) - set(FRICTIONS))]:
        if mark not in found:
            continue
        flag, (count, share) = mark.removeprefix("friction_"), found[mark]
        true = truth[flag].mean() if truth is not None and flag in truth.columns else None
        rows.append({"name": plain_mark(mark), "count": count, "share": share, "true_share": true})
    return sorted(rows, key=lambda row: -row["share"])


def rules(summary: Mapping[str, Any]) -> list[dict[str, Any]]:
    """name, label, about, coverage, overlap, conflict and estimated accuracy of each labelling function."""
    wanted = ("label", "about", "coverage", "overlap", "conflict", "accuracy")
    return [
        {"name": name, **{key: row.get(key) for key in wanted}}
        for name, row in sorted(
            summary.get("rules", {}).items(), key=lambda pair: (pair[1].get("label", ""), pair[0])
        )
    ]
