"""The scorecard of a contact reader, against the label model and against the truth.

Without people's labels, the target is what the label model makes of a contact with all that is
known of it (queue, code, waits, history); the reader sees the words alone. Where a simulator or
people know the truth, both are compared with it.
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

_MIN_PROBABILITY = 1e-6  # probabilities below count as this in the log loss
_RATIOS = {"log_loss": Ratio("loss", "labels"), "label_errors": Ratio("wrong", "labels")}
BELIEFS = ("contact_id", "label", "value", "probability")


def test_set_hash(turns: pl.DataFrame, beliefs: pl.DataFrame) -> str:
    """Returns the SHA-256 (hex) of the words to read and the target beliefs, in any order."""
    words = turns.select("contact_id", "turn", "role", "text").sort(
        "contact_id", "turn", "role", "text"
    )
    targets = beliefs.select(BELIEFS).sort("contact_id", "label", "value")
    digest = hashlib.sha256(words.write_csv().encode())
    digest.update(targets.write_csv().encode())
    return digest.hexdigest()


def reader_scorecard(
    contacts: pl.DataFrame,
    beliefs: pl.DataFrame,
    probabilities: Mapping[str, np.ndarray],
    *,
    labels: Mapping[str, tuple[str, ...]],
    model: str,
    data_hash: str,
    seed: int,
    created_at: str,
    bundle_sha256: str = "",
    facts: Mapping[str, Any] | None = None,
) -> Scorecard:
    """Scores `probabilities` (label → [contacts, values]) against `beliefs` (LABELS, row a value).

    `contacts` has contact_id, customer_id (the cluster) and channel. Metrics over all contacts and
    labels with a belief: `log_loss` (cross-entropy, in nats) and `label_errors`, the share whose
    likeliest value is another. Slices by label and channel. Raises ScorecardError when no contact
    has a belief.
    """
    numbered = contacts.select("contact_id", "customer_id", "channel").with_row_index("row")
    frames = [
        frame
        for name, values in labels.items()
        if (frame := _label_units(numbered, beliefs, probabilities, label=name, values=values))
        is not None
    ]
    if not frames:
        raise ScorecardError(
            f"model {model}: nothing is believed of any held-out contact. Label more contacts."
        )
    units = pl.concat(frames)
    metrics, slices = score_units(units, _RATIOS, ("label", "channel"), seed=seed)
    return Scorecard(
        kind="reader",
        model=model,
        data_hash=data_hash,
        created_at=created_at,
        metrics=metrics,
        ratios=dict(_RATIOS),
        units=units,
        slices=slices,
        facts=dict(facts or {}),
        bundle_sha256=bundle_sha256,
    )


def _label_units(
    numbered: pl.DataFrame,
    beliefs: pl.DataFrame,
    probabilities: Mapping[str, np.ndarray],
    *,
    label: str,
    values: tuple[str, ...],
) -> pl.DataFrame | None:
    """Returns a unit for each contact with a belief about `label`; None where there is none."""
    wide = beliefs.filter(pl.col("label") == label).pivot(
        "value", on_columns=list(values), index="contact_id", values="probability"
    )
    labelled = numbered.join(wide, on="contact_id", how="inner", maintain_order="left")
    if labelled.is_empty():
        return None
    target = labelled.select(values).fill_null(0.0).to_numpy()
    predicted = probabilities[label][labelled["row"].to_numpy()]
    loss = -(target * np.log(np.maximum(predicted, _MIN_PROBABILITY))).sum(axis=1)
    wrong = predicted.argmax(axis=1) != target.argmax(axis=1)
    return labelled.select(
        pl.format("{}/{}", "contact_id", pl.lit(label)).alias("unit"),
        pl.col("customer_id").alias("cluster"),
        "contact_id",
        "channel",
        pl.lit(label).alias("label"),
        pl.Series("loss", loss),
        pl.Series("wrong", wrong.astype(np.int64)),
        pl.lit(1).alias("labels"),
    )


def truth_labels(truth: pl.DataFrame) -> pl.DataFrame:
    """Returns the simulator's truth/contacts.parquet as contact_id, label, value."""
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
    """Returns the likeliest value of each contact and label of `beliefs` (LABELS, row a value).

    However low its probability; of equal ones the first by name.
    """
    return beliefs.sort("probability", "value", descending=[True, False]).unique(
        ["contact_id", "label"], keep="first", maintain_order=True
    )


def accuracy_by_label(
    given: pl.DataFrame, truth: pl.DataFrame, clusters: pl.DataFrame, *, seed: int
) -> dict[str, dict[str, Any]]:
    """Returns, for each label, the share of contacts whose value in `given` is the one in `truth`.

    Both have schema LABELS; `clusters` (contact_id, customer_id) names the contacts to score. One
    without a value in `given` counts as wrong. Each label has value, low, high (95 %, by customer),
    contacts, and `given`, the share with a value at all.
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
    accuracies = {}
    for (name,), part in every.sort("label").group_by(["label"], maintain_order=True):
        interval = ratio_of_sums(
            part["right"].cast(pl.Int64).to_numpy(),
            np.ones(part.height),
            part["customer_id"].to_numpy(),
            seed=seed,
        )
        accuracies[str(name)] = {
            "value": interval.value,
            "low": interval.low,
            "high": interval.high,
            "contacts": part.height,
            "given": 1 - part["value"].null_count() / part.height,
        }
    return accuracies
