"""Finds the evidence for a reason: the contact with the greatest weight in it, and its turn.

A feature is a sum over contacts, so what each adds is known exactly
(`data.features.contact_marks`): within its window, decayed, and less after smooth contacts where
the feature is relieved by them. The turn that shows it is found by running the labelling rules once
more, turn by turn: the first one on which a rule votes for the label by itself.
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
from data.records import TURNS
from data.timeline import best_text

SCHEMA: dict[str, Any] = {
    "contact_id": pl.String,
    "started_at": pl.Datetime("us", "UTC"),
    "start_s": pl.Float64,
    "words": pl.String,
}
_REASON_KEY = ["customer_id", "as_of", "feature"]
_LABEL_KEY = ["contact_id", "label", "value"]

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
# a contact that is less likely than this to show the friction or topic is no evidence for it
_MIN_PROBABILITY = 0.5


def contact_weight(feature: str, params: FeatureParams) -> pl.Expr | None:
    """Returns the weight of a contact in `feature`, on the columns of `contacts_as_of` and `worst`.

    None for a feature that counts no contacts.
    """
    named = parse_feature_name(feature)
    if named.is_sum and named.base in (*MEASURES, *TOPIC_FEATURES):
        is_likely = (
            pl.col(named.base) >= _MIN_PROBABILITY
            if named.base in (*FRICTIONS, *TOPIC_FEATURES)
            else pl.lit(True)
        )
        return pl.when(is_likely).then(contribution(named)).otherwise(0.0)
    if feature not in _SINGLES:
        return None
    days = {"longest_wait_s": params.windows_days[-1], "sentiment_trend": params.mood_days}.get(
        feature, math.inf
    )
    return pl.when(pl.col("age") <= days).then(_SINGLES[feature]).otherwise(0.0)


def _contact_feature_of(feature: str) -> pl.Expr:
    """The column of `contact_features` a feature is about: a friction or one of TOPIC_FEATURES.

    Null where the contact counts as such.
    """
    base = parse_feature_name(feature).base
    if base in FRICTIONS or base in TOPIC_FEATURES:
        return pl.lit(base)
    if base in ("friction", "worst_episode", "days_since_last_friction"):
        strongest = pl.concat_list(*FRICTIONS).list.arg_max()
        return pl.lit(pl.Series(list(FRICTIONS))).gather(strongest)
    return pl.lit(None, pl.String)


def find_evidence(
    reasons: pl.DataFrame,
    *,
    contacts: pl.DataFrame,
    labels: pl.DataFrame,
    turns: pl.DataFrame,
    params: FeatureParams | None = None,
    rules: Sequence[Rule] | None = None,
) -> pl.DataFrame:
    """Returns `reasons` with contact_id, started_at, start_s and words of the contact behind each.

    `reasons` has customer_id, as_of and feature. The added columns are null where a feature counts
    no contacts (plan, price), or none before the as-of date and within its window. `start_s` is the
    second in the recording and null for what was written; `words` are those of the turn, or null
    where the contact has no text. Of several contacts the one with the greatest weight is named,
    the later one of equals.
    """
    contact = _strongest_contacts(
        reasons, contacts=contacts, labels=labels, params=params or FeatureParams()
    )
    is_friction = pl.col("contact_feature").is_in(list(FRICTIONS))
    parts = pl.col("contact_feature").str.split("_").list
    labelled = contact.with_columns(
        pl.when(is_friction).then("contact_feature").otherwise(parts.first()).alias("label"),
        pl.when(is_friction).then(pl.lit("yes")).otherwise(parts.last()).alias("value"),
    )
    moments = _moments(
        labelled, contacts=contacts, turns=turns, rules=find_rules() if rules is None else rules
    )
    with_moments = labelled.join(moments, on=_LABEL_KEY, how="left", nulls_equal=True)
    return reasons.join(
        with_moments.drop("contact_feature", "label", "value"),
        on=_REASON_KEY,
        how="left",
        maintain_order="left",
    )


def _strongest_contacts(
    reasons: pl.DataFrame, *, contacts: pl.DataFrame, labels: pl.DataFrame, params: FeatureParams
) -> pl.DataFrame:
    """_REASON_KEY, contact_id, started_at and contact_feature of the contact with most weight."""
    keys = reasons.select(_REASON_KEY).unique()
    own_contacts = contacts.join(keys, on="customer_id", how="semi")
    featured = contact_features(
        own_contacts,
        labels.join(own_contacts, on="contact_id", how="semi"),
        repeat_days=params.repeat_days,
        relief=params.relief,
    )
    strongest = []
    for (day, feature), rows in keys.group_by("as_of", "feature", maintain_order=True):
        weight = contact_weight(feature, params)
        if weight is None:
            continue
        dated = contacts_as_of(
            featured.join(rows, on="customer_id", how="semi"), day, params.half_life_days
        )
        strongest.append(
            dated.with_columns(_WORST.alias("worst"))
            .with_columns(
                weight.cast(pl.Float64).alias("weight"),
                _contact_feature_of(feature).alias("contact_feature"),
            )
            .filter(pl.col("weight") > 0)
            .sort("weight", "started_at", "contact_id", descending=[True, True, False])
            .unique("customer_id", keep="first", maintain_order=True)
            .select(
                "customer_id",
                pl.lit(day).alias("as_of"),
                pl.lit(feature).alias("feature"),
                "contact_id",
                "started_at",
                "contact_feature",
            )
        )
    schema = {
        **keys.schema,
        "contact_id": pl.String,
        "started_at": SCHEMA["started_at"],
        "contact_feature": pl.String,
    }
    return pl.concat([pl.DataFrame(schema=schema), *strongest])


def _moments(
    labelled: pl.DataFrame, *, contacts: pl.DataFrame, turns: pl.DataFrame, rules: Sequence[Rule]
) -> pl.DataFrame:
    """contact_id, label, value, start_s and words of the turn that speaks for the label.

    It is the first on which a rule votes for it, else the customer's first one.
    """
    labels = labelled.select(_LABEL_KEY).unique()
    own_turns = best_text(
        turns.join(labels.select("contact_id").unique(), on="contact_id", how="semi")
    )
    votes = _turn_votes(own_turns, contacts, rules=rules, labels=set(labels["label"]))
    first = (
        labels.join(votes, on=_LABEL_KEY, how="left", nulls_equal=True)
        .group_by(_LABEL_KEY)
        .agg(pl.col("turn").min())
    )
    opening = (
        own_turns.filter(pl.col("role") == "customer")
        .group_by("contact_id")
        .agg(pl.col("turn").min().alias("opening"))
    )
    return (
        first.join(opening, on="contact_id", how="left")
        .with_columns(pl.coalesce("turn", "opening").alias("turn"))
        .join(
            own_turns.select("contact_id", "turn", "start_s", pl.col("text").alias("words")),
            on=["contact_id", "turn"],
            how="left",
        )
        .select(*_LABEL_KEY, "start_s", "words")
    )


def _turn_votes(
    turns: pl.DataFrame, contacts: pl.DataFrame, *, rules: Sequence[Rule], labels: set[str]
) -> pl.DataFrame:
    """contact_id, turn, label and value of each vote that a rule casts on a turn alone."""
    # Each turn becomes a contact of a customer of its own: only its words are left to vote on.
    turns = turns.with_columns(pl.format("{}#{}", "contact_id", "turn").alias("turn_id"))
    dated = turns.join(
        contacts.select("contact_id", "channel", "started_at"),
        on="contact_id",
        maintain_order="left",
    )
    turn_contacts = pl.concat(
        [
            contacts.clear(),
            dated.select(
                pl.col("turn_id").alias("contact_id"),
                pl.col("turn_id").alias("customer_id"),
                "channel",
                "started_at",
            ),
        ],
        how="diagonal",
    )
    texts = turns.drop("contact_id").rename({"turn_id": "contact_id"}).select(list(TURNS))
    voting = [rule for rule in rules if rule.label in labels]
    votes = vote_all(turn_contacts, texts, params=LabellingParams(), rules=voting)
    voted = [
        turns.select("contact_id", "turn").clear().with_columns(label=pl.lit(""), value=pl.lit(""))
    ]
    for column, rule in enumerate(voting):
        for number, value in enumerate(SCHEME[rule.label]):
            voted.append(
                turns.filter(pl.Series(votes[:, column] == number)).select(
                    "contact_id",
                    "turn",
                    pl.lit(rule.label).alias("label"),
                    pl.lit(value).alias("value"),
                )
            )
    return pl.concat(voted)


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
    """Adds the contact, second and words behind each reason for the riskiest `customers`.

    Reasons of other customers get nulls: searching all turns of every customer would take
    minutes.
    """

    if "feature" not in reasons.columns:
        return reasons
    all_turns = pl.concat([table.select(turns[0].columns) for table in turns])
    riskiest = scores.head(customers).select("customer_id")
    explained = find_evidence(
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
