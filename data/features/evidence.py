"""Evidence for a reason: the contact that weighs most in it, and the turn in which it can be heard or read.

A feature is a sum over contacts, so what each adds is known exactly (data.marks): within its window, fading, and less
after smooth contacts where the feature is relieved by them. Which turn of the contact it is about is found by asking
the labelling rules once more, turn by turn: the first one that on its own makes a rule say so.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import polars as pl

from data.features.contact_marks import (
    FRICTIONS,
    MEASURES,
    TOPIC_FEATURES,
    contact_features,
    contacts_as_of,
    contribution,
    parse_feature_name,
)
from data.features.features import FeatureParams
from data.labelling.discover import Rule, find_rules
from data.labelling.labeller import vote_all
from data.labelling.scheme import SCHEME, LabellingParams
from data.timeline import best_text

SCHEMA: dict[str, Any] = {
    "contact_id": pl.String,
    "started_at": pl.Datetime("us", "UTC"),
    "start_s": pl.Float64,
    "words": pl.String,
}


# Features that are no sums name one contact by themselves; others (plan, price, tenure) none.
_WORST = pl.col("severity").sum().over("customer_id", "episode") * pl.col("decay").max().over(
    "customer_id", "episode"
)
_SINGLES = {
    "worst_episode": pl.when(pl.max("worst").over("customer_id") == pl.col("worst"))
    .then("severity")
    .otherwise(0.0),
    "longest_wait_s": pl.col("wait_s").fill_null(0.0),
    "days_since_last_friction": pl.when(pl.col("severity") >= 0.5).then("decay").otherwise(0.0),
    "sentiment_trend": pl.max_horizontal("sentiment_negative", "sentiment_positive"),
    **dict.fromkeys(("days_since_last_contact", "last_channel", "last_reason"), pl.col("decay")),
}
_SURE = 0.5  # a contact that is less likely than this to have been such a one proves nothing


def contact_weight(feature: str, params: FeatureParams) -> pl.Expr | None:
    """How much a contact weighs in `feature`, on the columns of `data.marks.past` and `worst`; None if it has none."""
    named = parse_feature_name(feature)
    if named.is_sum and named.base in (*MEASURES, *TOPIC_FEATURES):
        sure = (
            pl.col(named.base) >= _SURE
            if named.base in (*FRICTIONS, *TOPIC_FEATURES)
            else pl.lit(True)
        )
        return pl.when(sure).then(contribution(named)).otherwise(0.0)
    if feature not in _SINGLES:
        return None
    days = {"longest_wait_s": params.windows_days[-1], "sentiment_trend": params.mood_days}.get(
        feature, math.inf
    )
    return pl.when(pl.col("age") <= days).then(_SINGLES[feature]).otherwise(0.0)


def _mark_of(feature: str) -> pl.Expr:
    """Which mark of the contact the feature is about: a friction or a column of ABOUT; null where it is just there."""
    base = parse_feature_name(feature).base
    if base in FRICTIONS or base in TOPIC_FEATURES:
        return pl.lit(base)
    if base in ("friction", "worst_episode", "days_since_last_friction"):
        strongest = pl.concat_list(*FRICTIONS).list.arg_max()
        return pl.lit(pl.Series(list(FRICTIONS))).gather(strongest)
    return pl.lit(None, pl.String)


def evidence(
    reasons: pl.DataFrame,
    *,
    contacts: pl.DataFrame,
    labels: pl.DataFrame,
    turns: pl.DataFrame,
    params: FeatureParams | None = None,
    rules: Sequence[Rule] | None = None,
) -> pl.DataFrame:
    """`reasons` (customer_id, as_of, feature, …) with contact_id, started_at, start_s and words beside each.

    They are null where a feature counts no contacts (plan, price), or none before the as-of date and within its window.
    `start_s` is the second in the recording and null for what was written; `words` are those of the turn, or null where
    the contact has no text. Of several contacts the one that weighs most is named, the later one of equals.
    """
    params = params or FeatureParams()
    keys = ["customer_id", "as_of", "feature"]
    keyed = reasons.select(keys).unique()
    customer_contacts = contacts.join(keyed, on="customer_id", how="semi")
    marked = contact_features(
        customer_contacts,
        labels.join(customer_contacts, on="contact_id", how="semi"),
        repeat_days=params.repeat_days,
        relief=params.relief,
    )
    strongest = []
    for (day, feature), rows in keyed.group_by("as_of", "feature", maintain_order=True):
        weight = contact_weight(feature, params)
        if weight is None:
            continue
        strongest.append(
            contacts_as_of(
                marked.join(rows, on="customer_id", how="semi"), day, params.half_life_days
            )
            .with_columns(_WORST.alias("worst"))
            .with_columns(weight.cast(pl.Float64).alias("weight"), _mark_of(feature).alias("mark"))
            .filter(pl.col("weight") > 0)
            .sort("weight", "started_at", "contact_id", descending=[True, True, False])
            .unique("customer_id", keep="first", maintain_order=True)
            .select(
                "customer_id",
                pl.lit(day).alias("as_of"),
                pl.lit(feature).alias("feature"),
                "contact_id",
                "started_at",
                "mark",
            )
        )
    schema = {
        **keyed.schema,
        "contact_id": pl.String,
        "started_at": SCHEMA["started_at"],
        "mark": pl.String,
    }
    best = pl.concat([pl.DataFrame(schema=schema), *strongest]).with_columns(
        pl.when(pl.col("mark").is_in(list(FRICTIONS)))
        .then("mark")
        .otherwise(pl.col("mark").str.split("_").list.first())
        .alias("label"),
        pl.when(pl.col("mark").is_in(list(FRICTIONS)))
        .then(pl.lit("yes"))
        .otherwise(pl.col("mark").str.split("_").list.last())
        .alias("value"),
    )
    moments = _moments(
        best, contacts=contacts, turns=turns, rules=find_rules() if rules is None else rules
    )
    with_moments = best.join(
        moments, on=["contact_id", "label", "value"], how="left", nulls_equal=True
    )
    return reasons.join(
        with_moments.drop("mark", "label", "value"), on=keys, how="left", maintain_order="left"
    )


def _moments(
    best: pl.DataFrame, *, contacts: pl.DataFrame, turns: pl.DataFrame, rules: Sequence[Rule]
) -> pl.DataFrame:
    """contact_id, label, value, start_s, words: the turn that speaks for the label, else the customer's first one."""
    wanted_labels = best.select("contact_id", "label", "value").unique()
    spoken_turns = best_text(
        turns.join(wanted_labels.select("contact_id").unique(), on="contact_id", how="semi")
    ).with_columns(pl.format("{}#{}", "contact_id", "turn").alias("alone"))
    # Each turn as a contact of a customer of its own: only its words are left to vote on.
    channel = spoken_turns.join(
        contacts.select("contact_id", "channel", "started_at"),
        on="contact_id",
        maintain_order="left",
    )
    single = pl.concat(
        [
            contacts.clear(),
            channel.select(
                pl.col("alone").alias("contact_id"),
                pl.col("alone").alias("customer_id"),
                "channel",
                "started_at",
            ),
        ],
        how="diagonal",
    )
    spoken = spoken_turns.drop("contact_id").rename({"alone": "contact_id"}).select(turns.columns)
    labels_asked = set(wanted_labels["label"])
    asking = [rule for rule in rules if rule.label in labels_asked]
    votes = vote_all(single, spoken, params=LabellingParams(), rules=asking)
    hits = []
    for column, rule in enumerate(asking):
        for number, value in enumerate(SCHEME[rule.label]):
            hit = pl.Series(votes[:, column] == number)
            hits.append(
                spoken_turns.filter(hit).select(
                    "contact_id",
                    "turn",
                    pl.lit(rule.label).alias("label"),
                    pl.lit(value).alias("value"),
                )
            )
    rule_hits = pl.concat(
        [
            spoken_turns.select("contact_id", "turn")
            .clear()
            .with_columns(label=pl.lit(""), value=pl.lit("")),
            *hits,
        ]
    )
    first = (
        wanted_labels.join(
            rule_hits, on=["contact_id", "label", "value"], how="left", nulls_equal=True
        )
        .group_by("contact_id", "label", "value")
        .agg(pl.col("turn").min())
    )
    opening = (
        spoken_turns.filter(pl.col("role") == "customer")
        .group_by("contact_id")
        .agg(pl.col("turn").min().alias("opening"))
    )
    return (
        first.join(opening, on="contact_id", how="left")
        .with_columns(pl.coalesce("turn", "opening").alias("turn"))
        .join(
            spoken_turns.select("contact_id", "turn", "start_s", pl.col("text").alias("words")),
            on=["contact_id", "turn"],
            how="left",
        )
        .select("contact_id", "label", "value", "start_s", "words")
    )


def with_evidence(
    reasons: pl.DataFrame,
    scores: pl.DataFrame,
    *,
    contacts: pl.DataFrame,
    labels: pl.DataFrame,
    turns: list[pl.DataFrame],
    params: FeatureParams,
    customers: int = 300,
) -> pl.DataFrame:
    """`reasons` with the contact, second and words behind each (data.evidence), for the riskiest `customers`.

    Further down the list nobody reads on, and looking through what everybody ever said would take minutes.
    """

    if "feature" not in reasons.columns:
        return reasons
    all_turns = pl.concat([table.select(turns[0].columns) for table in turns])
    riskiest = scores.head(customers).select("customer_id")
    explained = evidence(
        reasons.join(riskiest, on="customer_id", how="semi"),
        contacts=contacts,
        labels=labels,
        turns=all_turns,
        params=params,
    )
    keys = ["customer_id", "as_of", "rank"]
    return reasons.join(
        explained.select(*keys, *SCHEMA), on=keys, how="left", maintain_order="left"
    )
