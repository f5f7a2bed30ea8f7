"""Report section on labels: reasons, friction, sentiment, and how labelling functions agree."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from data.features.contact_marks import FRICTIONS
from evaluation.experience.monitoring_plan import contact_features, describe_feature
from evaluation.report.artefacts import ArtefactReader
from evaluation.report.formatting import title

LIKELY = 0.5  # a friction counts as present from this probability on


def label_summary(artefacts: ArtefactReader) -> dict[str, Any]:
    """Returns shares of contacts by reason, friction, sentiment and barrier.

    With the true shares where there is a simulator's truth, and label.json's statistics of the
    labelling functions.
    """
    labels = artefacts.table("labels.parquet", "label")
    contacts = labels["contact_id"].n_unique()
    truth = artefacts.ground_truth("contacts.parquet")
    if truth is not None:
        truth = truth.join(labels.select("contact_id").unique(), on="contact_id", how="semi")
    troubled = contact_features(labels).filter(
        pl.col("mark").str.starts_with("friction_") & (pl.col("p") >= LIKELY)
    )
    return {
        "contacts": contacts,
        "friction_share": troubled["contact_id"].n_unique() / contacts if contacts else None,
        "has_truth": truth is not None,
        "reasons": _value_shares(labels, "reason", truth),
        "sentiments": _value_shares(labels, "sentiment", truth),
        "barriers": _value_shares(labels, "barrier", truth),
        "frictions": _friction_shares(labels, truth),
        "rules": labelling_functions(artefacts.json_or_none("label.json") or {}),
    }


def _value_shares(
    labels: pl.DataFrame, label: str, truth: pl.DataFrame | None
) -> list[dict[str, Any]]:
    """Returns each value's share of the contacts with this label, by their likeliest value."""
    rows = (
        labels.filter(pl.col("label") == label)
        .sort("contact_id", "probability", "value", descending=[False, True, False])
        .unique("contact_id", keep="first", maintain_order=True)["value"]
        .value_counts()
        .sort(["count", "value"], descending=[True, False])
    )
    true_shares = {}
    if truth is not None and label in truth.columns and truth.height:
        true_shares = dict(truth[label].cast(pl.String).value_counts(normalize=True).iter_rows())
    return [
        {
            "name": title(value),
            "count": count,
            "share": count / rows["count"].sum(),
            "true_share": true_shares.get(value, 0.0) if true_shares else None,
        }
        for value, count in rows.iter_rows()
    ]


def _friction_shares(labels: pl.DataFrame, truth: pl.DataFrame | None) -> list[dict[str, Any]]:
    """Returns the share of contacts on which each friction is likely, the largest first."""
    shares = {
        mark: (count, count / contacts)
        for mark, count, contacts in contact_features(labels)
        .filter(pl.col("mark").str.starts_with("friction_"))
        .group_by("mark")
        .agg((pl.col("p") >= LIKELY).sum().alias("count"), pl.len().alias("contacts"))
        .iter_rows()
    }
    rows = []
    for mark in [*FRICTIONS, *sorted(set(shares) - set(FRICTIONS))]:
        if mark not in shares:
            continue
        flag, (count, share) = mark.removeprefix("friction_"), shares[mark]
        true_share = truth[flag].mean() if truth is not None and flag in truth.columns else None
        rows.append(
            {
                "name": describe_feature(mark),
                "count": count,
                "share": share,
                "true_share": true_share,
            }
        )
    return sorted(rows, key=lambda row: -row["share"])


def labelling_functions(summary: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Returns name, label, coverage, overlap, conflict and accuracy of each labelling function."""
    fields = ("label", "about", "coverage", "overlap", "conflict", "accuracy")
    return [
        {"name": name, **{key: row.get(key) for key in fields}}
        for name, row in sorted(
            summary.get("rules", {}).items(), key=lambda pair: (pair[1].get("label", ""), pair[0])
        )
    ]
