"""Computes what each contact adds to its customer's features, and how it decays with time."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time
from typing import NamedTuple

import polars as pl

from data.labelling.scheme import SCHEME
from data.records import CHANNELS

FRICTIONS = {
    "friction_ivr_dead_end": "menus that led nowhere",
    "friction_pressed_zero": "menus left by pressing 0",
    "friction_system_hangup": "contacts cut off by the system",
    "friction_please_call": "written contacts answered with 'please call'",
    "friction_repeated_contact": "contacts about the same thing again",
    "friction_transfer": "transfers",
    "friction_unresolved": "contacts without a solution",
    "friction_long_wait": "long waits",
}
# The group of reasons each belongs to: what one would set out to mend together.
_GROUP = {
    "friction_ivr_dead_end": "menus and lines",
    "friction_pressed_zero": "menus and lines",
    "friction_system_hangup": "menus and lines",
    "friction_please_call": "matters left open",
    "friction_repeated_contact": "matters left open",
    "friction_unresolved": "matters left open",
    "friction_transfer": "being handed on",
    "friction_long_wait": "waiting",
}
TOPIC_FEATURES = tuple(
    f"{label}_{value}"
    for label in ("reason", "barrier", "sentiment")
    for value in SCHEME[label]
    if value not in ("none", "neutral", "other")
)
# Sums over contacts: meaning, group, and what one contact adds.
MEASURES: dict[str, tuple[str, str, pl.Expr]] = {
    "contacts": ("contacts", "contact volume", pl.lit(1.0)),
    **{
        f"contacts_{channel}": (
            f"{channel} contacts",
            "contact volume",
            (pl.col("channel") == channel).cast(pl.Float64),
        )
        for channel in CHANNELS
    },
    "talk_s": ("seconds in contact", "contact volume", pl.col("duration_s").fill_null(0)),
    "repeated_contacts": ("contacts soon after another", "matters left open", pl.col("repeated")),
    "channel_switches": (
        "changes of channel within an episode",
        "being handed on",
        pl.col("switched"),
    ),
    "wait_s": ("seconds spent waiting", "waiting", pl.col("wait_s").fill_null(0)),
    "friction": ("friction events", "friction of any kind", pl.col("severity")),
    "smooth_contacts": (
        "contacts without friction",
        "friction of any kind",
        (pl.col("severity") < 0.5).cast(pl.Float64),
    ),
    **{name: (meaning, _GROUP[name], pl.col(name)) for name, meaning in FRICTIONS.items()},
}
_TRUE = ("yes", "true", "1", "present")


class FeatureName(NamedTuple):
    """A feature's name taken apart: the measure that is summed, over how many days, or decayed."""

    base: str
    days: int | None = None
    is_decayed: bool = False

    @property
    def is_sum(self) -> bool:
        """Whether the feature is a sum over contacts."""
        return self.is_decayed or self.days is not None

    @property
    def is_relieved(self) -> bool:
        """Whether smooth contacts reduce what earlier contacts added."""
        topic = self.base.split("_")[0]
        return self.is_decayed and (
            self.base == "friction" or self.base in FRICTIONS or topic in ("reason", "barrier")
        )


def parse_feature_name(name: str) -> FeatureName:
    """Parses a feature's name: `friction_transfer_30d` is friction_transfer over 30 days.

    `…_decayed` is a decayed sum; any other name is no sum over contacts.
    """
    match = None if name.startswith("attr_") else re.fullmatch(r"(.+)_(?:(\d+)d|decayed)", name)
    if not match:
        return FeatureName(name)
    return FeatureName(match[1], int(match[2]) if match[2] else None, not match[2])


def contribution(feature: FeatureName) -> pl.Expr:
    """Returns what one contact adds to the sum `feature`, on the columns of `contacts_as_of`.

    Raises KeyError where it is no such sum.
    """
    amount = MEASURES[feature.base][2] if feature.base in MEASURES else None
    if feature.base in TOPIC_FEATURES:
        amount = pl.col(feature.base)
    if amount is None or not feature.is_sum:
        raise KeyError(
            f"{feature.base}: no sum over contacts. Declare it in data/features/contact_marks.py."
        )
    if feature.days is not None:
        return pl.when(pl.col("age") <= feature.days).then(amount).otherwise(0.0)
    return amount * pl.col("decay") * (pl.col("unrelieved") if feature.is_relieved else 1.0)


def contact_features(
    contacts: pl.DataFrame, labels: pl.DataFrame, *, repeat_days: float, relief: float
) -> pl.DataFrame:
    """Returns contacts in order of customer and time with what each adds to features.

    A column uses this contact and earlier ones only. It adds to CONTACTS: the probability of
    each of FRICTIONS and TOPIC_FEATURES, reason (the most probable), repeated and switched
    (within `repeat_days` of the one before), episode, severity (frictions together) and
    relieved (see `contacts_as_of`).
    """
    names = [*FRICTIONS, *TOPIC_FEATURES]
    reason = (
        labels.filter(pl.col("label") == "reason")
        .sort("contact_id", "probability", "value", descending=[False, True, False])
        .unique("contact_id", keep="first", maintain_order=True)
        .select("contact_id", pl.col("value").alias("reason"))
    )
    gap = (
        pl.col("started_at") - pl.col("started_at").shift(1).over("customer_id")
    ).dt.total_seconds() / 86400
    soon = (gap <= repeat_days).fill_null(False)
    changed = (pl.col("channel") != pl.col("channel").shift(1).over("customer_id")).fill_null(False)
    # The logarithm of what smooth contacts up to this one would leave of something that came before
    # them all.
    trouble = pl.sum_horizontal(
        "severity", *(name for name in TOPIC_FEATURES if name.startswith("barrier_"))
    )
    relieved = (1 - relief * (1 - trouble).clip(0, 1)).log().cum_sum().over("customer_id")
    return (
        contacts.sort("customer_id", "started_at", "contact_id")
        .join(_label_probabilities(labels), on="contact_id", how="left", maintain_order="left")
        .join(reason, on="contact_id", how="left", maintain_order="left")
        .with_columns(pl.col(names).fill_null(0.0))
        .with_columns(
            soon.cast(pl.Float64).alias("repeated"),
            (soon & changed).cast(pl.Float64).alias("switched"),
            (~soon).cum_sum().over("customer_id").alias("episode"),
            pl.sum_horizontal(*FRICTIONS).alias("severity"),
        )
        .with_columns(relieved.alias("relieved"))
    )


def _label_probabilities(labels: pl.DataFrame) -> pl.DataFrame:
    """contact_id and the probability of each of FRICTIONS and TOPIC_FEATURES, a column each."""
    value = pl.col("value").str.to_lowercase()
    friction = pl.col("label").str.starts_with("friction_")
    names = [*FRICTIONS, *TOPIC_FEATURES]
    probabilities = (
        labels.select(
            "contact_id",
            pl.when(friction)
            .then("label")
            .otherwise(pl.format("{}_{}", "label", value))
            .alias("contact_feature"),
            pl.when(friction & ~value.is_in(_TRUE))
            .then(1 - pl.col("probability"))
            .otherwise("probability")
            .alias("p"),
        )
        .filter(pl.col("contact_feature").is_in(names))
        .group_by("contact_id", "contact_feature")
        .agg(pl.col("p").mean())
    )
    return probabilities.pivot("contact_feature", on_columns=names, index="contact_id", values="p")


def contacts_as_of(contacts: pl.DataFrame, day: date, half_life_days: float) -> pl.DataFrame:
    """Returns the `contact_features` of contacts that began before `day` (UTC), as of that day.

    Adds age (days), decay (halves every `half_life_days`) and unrelieved (the share that later
    smooth contacts left).
    """
    midnight = datetime.combine(day, time(), UTC)
    age = (pl.lit(midnight) - pl.col("started_at")).dt.total_seconds() / 86400
    return contacts.filter(pl.col("started_at") < midnight).with_columns(
        age.alias("age"),
        (0.5 ** (age / half_life_days)).alias("decay"),
        (pl.col("relieved").last().over("customer_id") - pl.col("relieved"))
        .exp()
        .alias("unrelieved"),
    )
