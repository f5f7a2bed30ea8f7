"""Evidence for a reason: the contact that weighs most in it, and the turn in which it can be heard or read.

A feature is a sum over contacts, so what each adds is known exactly. Which turn of the contact it is about is found by
asking the labelling rules once more, turn by turn: the first one that on its own makes a rule say so.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import polars as pl

from data.features import FRICTIONS
from data.labelling.discover import Rule, find
from data.labelling.labeller import vote_all
from data.labelling.scheme import SCHEME, LabellingParams

SCHEMA: dict[str, Any] = {
    "contact_id": pl.String,
    "started_at": pl.Datetime("us", "UTC"),
    "start_s": pl.Float64,
    "words": pl.String,
}


def marks_of(feature: str) -> list[tuple[str, str]]:
    """The labels with their values that a feature counts: [("friction_transfer", "yes")], … or none."""
    base = re.sub(r"_(\d+d|decayed)$", "", feature)
    if base in FRICTIONS:
        return [(base, "yes")]
    if base in ("friction", "worst_episode", "days_since_last_friction"):
        return [(name, "yes") for name in FRICTIONS]
    label, _, value = base.partition("_")
    return [(label, value)] if value in SCHEME.get(label, ()) else []


def evidence(
    reasons: pl.DataFrame,
    contacts: pl.DataFrame,
    labels: pl.DataFrame,
    turns: pl.DataFrame,
    half_life_days: float = 50.0,
    rules: Sequence[Rule] | None = None,
) -> pl.DataFrame:
    """`reasons` (customer_id, as_of, feature, …) with contact_id, started_at, start_s and words beside each.

    They are null where a feature counts no contacts (plan, price), or none before the as-of date. `start_s` is the
    second in the recording and null for what was written; `words` are those of the turn, or null where the contact has
    no text. Of several contacts the one whose label weighs most by then is named, the later one of equals.
    """
    asked = pl.DataFrame(
        [(feature, label, value) for feature in reasons["feature"].unique() for label, value in marks_of(feature)],
        schema=["feature", "label", "value"], orient="row",
    ).cast(pl.String)  # fmt: skip
    keys = ["customer_id", "as_of", "feature"]
    age_days = (pl.col("as_of").cast(SCHEMA["started_at"]) - pl.col("started_at")).dt.total_seconds() / 86400
    best = (
        reasons.select(keys)
        .unique()
        .join(asked, on="feature")
        .join(contacts.select("customer_id", "contact_id", "started_at"), on="customer_id")
        .filter(age_days > 0)
        .join(labels, on=["contact_id", "label", "value"])
        .with_columns((pl.col("probability") * 0.5 ** (age_days / half_life_days)).alias("weight"))
        .sort("weight", "started_at", "contact_id", "label", descending=[True, True, False, False])
        .unique(keys, keep="first", maintain_order=True)
        .select(*keys, "contact_id", "started_at", "label", "value")
    )
    moments = _moments(best, contacts, turns, find() if rules is None else rules)
    found = best.join(moments, on=["contact_id", "label", "value"], how="left").drop("label", "value")
    return reasons.join(found, on=keys, how="left", maintain_order="left")


def _moments(best: pl.DataFrame, contacts: pl.DataFrame, turns: pl.DataFrame, rules: Sequence[Rule]) -> pl.DataFrame:
    """contact_id, label, value, start_s, words: the turn that speaks for the label, else the customer's first one."""
    wanted = best.select("contact_id", "label", "value").unique()
    rank = pl.when(pl.col("origin") == "asr").then(1).otherwise(0)
    said = (
        turns.join(wanted.select("contact_id").unique(), on="contact_id", how="semi")
        .filter(rank == rank.min().over("contact_id"))
        .sort("contact_id", "turn")
        .with_columns(pl.format("{}#{}", "contact_id", "turn").alias("alone"))
    )
    # Each turn as a contact of a customer of its own: only its words are left to vote on.
    channel = said.join(contacts.select("contact_id", "channel", "started_at"), on="contact_id", maintain_order="left")
    single = pl.concat(
        [
            contacts.clear(),
            channel.select(
                pl.col("alone").alias("contact_id"), pl.col("alone").alias("customer_id"), "channel", "started_at"
            ),
        ],
        how="diagonal",
    )
    spoken = said.drop("contact_id").rename({"alone": "contact_id"}).select(turns.columns)
    labels_asked = set(wanted["label"])
    asking = [rule for rule in rules if rule.label in labels_asked]
    votes = vote_all(single, spoken, LabellingParams(), asking)
    parts = []
    for column, rule in enumerate(asking):
        for number, value in enumerate(SCHEME[rule.label]):
            hit = pl.Series(votes[:, column] == number)
            parts.append(
                said.filter(hit).select(
                    "contact_id", "turn", pl.lit(rule.label).alias("label"), pl.lit(value).alias("value")
                )
            )
    heard = pl.concat(
        [said.select("contact_id", "turn").clear().with_columns(label=pl.lit(""), value=pl.lit("")), *parts]
    )
    first = wanted.join(heard, on=["contact_id", "label", "value"], how="left").group_by(
        "contact_id", "label", "value"
    ).agg(pl.col("turn").min())  # fmt: skip
    opening = (
        said.filter(pl.col("role") == "customer").group_by("contact_id").agg(pl.col("turn").min().alias("opening"))
    )
    return (
        first.join(opening, on="contact_id", how="left")
        .with_columns(pl.coalesce("turn", "opening").alias("turn"))
        .join(said.select("contact_id", "turn", "start_s", pl.col("text").alias("words")), on=["contact_id", "turn"],
              how="left")
        .select("contact_id", "label", "value", "start_s", "words")
    )  # fmt: skip
