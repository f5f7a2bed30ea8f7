"""How well a reader reads contacts: against the label model's beliefs on held-out customers, and against the truth.

Without people's labels the exam's key is what the rules make of a contact with all that is known of it (queue, code,
waits, history); the reader sees the words alone. Where a simulator or people know the truth, both are held against it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl

from data.labelling.scheme import FRICTIONS, SCHEME
from evaluation.metrics.bootstrap import ratio_of_sums
from evaluation.scorecard import Ratio, Scorecard, ScorecardError, score_units

_LEAST = 1e-6  # probabilities below count as this in the log loss
BELIEFS = ("contact_id", "label", "value", "probability")


def hash_of(turns: pl.DataFrame, beliefs: pl.DataFrame) -> str:
    """SHA-256 (hex) of the words to read and the beliefs to be met, whatever their order."""
    words = turns.select("contact_id", "turn", "role", "text").sort(
        "contact_id", "turn", "role", "text"
    )
    key = beliefs.select(BELIEFS).sort("contact_id", "label", "value")
    found = hashlib.sha256(words.write_csv().encode())
    found.update(key.write_csv().encode())
    return found.hexdigest()


def reader_scorecard(
    model: str,
    data_hash: str,
    contacts: pl.DataFrame,
    beliefs: pl.DataFrame,
    found: Mapping[str, np.ndarray],
    labels: Mapping[str, tuple[str, ...]],
    seed: int,
    created_at: str,
    bundle_sha256: str = "",
    facts: Mapping[str, Any] | None = None,
) -> Scorecard:
    """Scores probabilities `found` (label -> [contacts, values]) against `beliefs` (LABELS, a row a value).

    `contacts` has contact_id, customer_id (the cluster) and channel. Metrics over all contacts and labels the beliefs
    know: `log_loss` (cross-entropy, in nats) and `label_errors`, the share whose likeliest value is another. Slices by
    label and channel. Raises ScorecardError when nothing is believed of any contact.
    """
    numbered = contacts.select("contact_id", "customer_id", "channel").with_row_index("row")
    frames = []
    for name, values in labels.items():
        wide = beliefs.filter(pl.col("label") == name).pivot(
            "value", on_columns=list(values), index="contact_id", values="probability"
        )
        known = numbered.join(wide, on="contact_id", how="inner", maintain_order="left")
        if known.is_empty():
            continue
        wanted = known.select(values).fill_null(0.0).to_numpy()
        chances = found[name][known["row"].to_numpy()]
        loss = -(wanted * np.log(np.maximum(chances, _LEAST))).sum(axis=1)
        frames.append(
            known.select(
                pl.format("{}/{}", "contact_id", pl.lit(name)).alias("unit"),
                pl.col("customer_id").alias("cluster"),
                "contact_id",
                "channel",
                pl.lit(name).alias("label"),
                pl.Series("loss", loss),
                pl.Series(
                    "wrong", (chances.argmax(axis=1) != wanted.argmax(axis=1)).astype(np.int64)
                ),
                pl.lit(1).alias("labels"),
            )
        )
    if not frames:
        raise ScorecardError(
            f"model {model}: nothing is believed of any held-out contact. Label more contacts."
        )
    units = pl.concat(frames)
    ratios = {"log_loss": Ratio("loss", "labels"), "label_errors": Ratio("wrong", "labels")}
    metrics, slices = score_units(units, ratios, ("label", "channel"), seed)
    return Scorecard(
        kind="reader",
        model=model,
        data_hash=data_hash,
        created_at=created_at,
        metrics=metrics,
        ratios=ratios,
        units=units,
        slices=slices,
        facts=dict(facts or {}),
        bundle_sha256=bundle_sha256,
    )


def truth_labels(truth: pl.DataFrame) -> pl.DataFrame:
    """The simulator's truth/contacts.parquet as contact_id, label, value."""
    flags = [
        truth.select(
            "contact_id",
            pl.lit(f"friction_{name}").alias("label"),
            pl.when(pl.col(name)).then(pl.lit("yes")).otherwise(pl.lit("no")).alias("value"),
        )
        for name in FRICTIONS
    ]
    plain = [
        truth.select(
            "contact_id", pl.lit(name).alias("label"), pl.col(name).cast(pl.String).alias("value")
        )
        for name in SCHEME
        if name in truth.columns
    ]
    return pl.concat([*plain, *flags])


def argmax_labels(beliefs: pl.DataFrame) -> pl.DataFrame:
    """The likeliest value of each contact and label of `beliefs` (LABELS, a row a value), sure or not."""
    return beliefs.sort("probability", "value", descending=[True, False]).unique(
        ["contact_id", "label"], keep="first", maintain_order=True
    )


def accuracy_by_label(
    given: pl.DataFrame, truth: pl.DataFrame, clusters: pl.DataFrame, seed: int
) -> dict[str, dict[str, Any]]:
    """For each label the share of contacts whose value in `given` (LABELS) is the one in `truth` (LABELS too).

    `clusters` (contact_id, customer_id) names the contacts to look at; one without a value in `given` is not right.
    Each label has value, low, high (95 %, by customer), contacts, and `given`, the share with a value at all.
    """
    every = (
        clusters.join(
            truth.select("contact_id", "label", pl.col("value").alias("true")),
            on="contact_id",
            how="inner",
        )
        .join(given.select("contact_id", "label", "value"), on=["contact_id", "label"], how="left")
        .with_columns((pl.col("value") == pl.col("true")).fill_null(False).alias("right"))
    )
    found = {}
    for (name,), part in every.sort("label").group_by(["label"], maintain_order=True):
        interval = ratio_of_sums(
            part["right"].cast(pl.Int64).to_numpy(),
            np.ones(part.height),
            part["customer_id"].to_numpy(),
            seed,
        )
        found[str(name)] = {
            "value": interval.value,
            "low": interval.low,
            "high": interval.high,
            "contacts": part.height,
            "given": 1 - part["value"].null_count() / part.height,
        }
    return found
