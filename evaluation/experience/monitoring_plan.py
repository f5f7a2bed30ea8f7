"""Chooses contacts for a person to listen to: the most valuable ones, and a random sample.

value = risk x trouble x doubt x freshness, each between 0 and 1:

- risk: the customer's risk of leaving within `horizon_days`; customers without a score get the
  median of the others.
- trouble: 1 - prod(1 - weight x probability) over the friction labels of the contact and its
  negative sentiment (a noisy OR: one bad thing is enough, several are worse).
- doubt: 1 - doubt_weight + doubt_weight x uncertainty, where uncertainty is the mean normalised
  entropy of the contact's labels. Listening teaches most where the labels are least certain.
- freshness: halves every `half_life_days` before the newest contact, since old trouble is settled.

The chosen contacts have inclusion probability 1. The random stratum is drawn without regard to
value from all the others, with inclusion probability drawn / others. So a sum over both strata,
weighted by 1 / inclusion probability (Horvitz and Thompson 1952), is an unbiased estimate for all
contacts that can be listened to.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from data.features.contact_marks import FRICTIONS

CHOSEN, RANDOM = "chosen", "random"
MONITORING_PLAN = {
    "contact_id": pl.String,
    "customer_id": pl.String,
    "why": pl.String,
    "stratum": pl.String,
    "inclusion_probability": pl.Float64,
    "value": pl.Float64,
    "risk": pl.Float64,
    "trouble": pl.Float64,
    "uncertainty": pl.Float64,
}
_TRUE = ("yes", "true", "1", "present")
_DESCRIPTIONS = {  # one contact at a time; data.features names the same things in the plural
    "friction_ivr_dead_end": "the menu led nowhere",
    "friction_pressed_zero": "the menu was left by pressing 0",
    "friction_system_hangup": "the system cut the contact off",
    "friction_please_call": "written, and answered with “please call”",
    "friction_repeated_contact": "about the same thing again",
    "friction_transfer": "handed on to someone else",
    "friction_unresolved": "left without a solution",
    "friction_long_wait": "a long wait",
    "sentiment_negative": "the customer was unhappy",
}


@dataclass(frozen=True)
class MonitoringPlanParams:
    """How contacts are chosen: `report.monitoring_plan` in params.yaml."""

    chosen: int = 8  # contacts by value
    random: int = 4  # contacts by lot from the others
    # At most so many chosen contacts of one customer, so that one does not fill the plan.
    per_customer: int = 1
    horizon_days: int = 180  # the risk that counts; 0 where outcomes have no dates
    half_life_days: float = 60.0  # a contact so much older than the newest is worth half
    # 0: the labels' uncertainty does not matter; 1: certain labels make a contact worth nothing.
    doubt_weight: float = 0.5
    negative_weight: float = 0.4  # of negative sentiment
    friction_weight: float = 0.5  # of each friction mark not listed below
    severe_weight: float = 0.9  # of the marks in `severe`
    # Frictions against which nothing the customer did could help.
    severe: tuple[str, ...] = ("ivr_dead_end", "system_hangup", "please_call")
    seed: int = 0  # of the lot


def monitoring_plan(
    contacts: pl.DataFrame,
    labels: pl.DataFrame,
    risks: pl.DataFrame,
    *,
    params: MonitoringPlanParams,
) -> pl.DataFrame:
    """Returns the contacts to listen to (MONITORING_PLAN): the chosen, then the random ones.

    The chosen ones come by falling value. `contacts` (schema CONTACTS) are those that can be
    listened to; `labels` has schema LABELS; `risks` has customer_id and `risk` (0 to 1), and may be
    empty: then all customers count alike. The same input gives the same plan in any row order.
    Raises ValueError when a customer has two risks.
    """
    if risks["customer_id"].is_duplicated().any():
        twice = risks.filter(pl.col("customer_id").is_duplicated())["customer_id"][0]
        raise ValueError(f"customer {twice}: more than one risk. Pass the newest score only.")
    rows = _valued(contacts, labels.sort("contact_id", "label", "value"), risks, params)
    order = rows.filter(pl.col("value") > 0).sort(["value", "contact_id"], descending=[True, False])
    nth = pl.int_range(pl.len()).over("customer_id")
    chosen = order.filter(nth < params.per_customer).head(params.chosen)
    remaining = rows.filter(~pl.col("contact_id").is_in(chosen["contact_id"].to_list())).sort(
        "contact_id"
    )
    drawn = min(params.random, remaining.height)
    sampled = np.random.default_rng(params.seed).permutation(remaining.height)[:drawn]
    random_stratum = remaining[sorted(sampled.tolist())]
    return pl.concat(
        [
            chosen.with_columns(
                pl.lit(CHOSEN).alias("stratum"),
                pl.lit(1.0).alias("inclusion_probability"),
                pl.Series(
                    "why",
                    [_why(row, params) for row in chosen.iter_rows(named=True)],
                    dtype=pl.String,
                ),
            ).select(list(MONITORING_PLAN)),
            random_stratum.with_columns(
                pl.lit(RANDOM).alias("stratum"),
                pl.lit(drawn / max(1, remaining.height)).alias("inclusion_probability"),
                pl.lit(f"Drawn by lot: {drawn} of {remaining.height} other contacts.").alias("why"),
            ).select(list(MONITORING_PLAN)),
        ]
    )


def contact_features(labels: pl.DataFrame) -> pl.DataFrame:
    """Returns contact_id, mark (friction_… or sentiment_negative) and `p`, its mean probability."""
    friction = pl.col("label").str.starts_with("friction_")
    value = pl.col("value").str.to_lowercase()
    return (
        labels.filter(friction | ((pl.col("label") == "sentiment") & (value == "negative")))
        .select(
            "contact_id",
            pl.when(friction).then("label").otherwise(pl.lit("sentiment_negative")).alias("mark"),
            pl.when(friction & ~value.is_in(_TRUE))
            .then(1 - pl.col("probability"))
            .otherwise("probability")
            .alias("p"),
        )
        .group_by("contact_id", "mark")
        .agg(pl.col("p").mean())
    )


def describe_feature(mark: str) -> str:
    """Returns a contact feature as people say it of one contact; an unknown one keeps its name."""
    return (
        _DESCRIPTIONS.get(mark)
        or FRICTIONS.get(mark)
        or mark.removeprefix("friction_").replace("_", " ")
    )


def _valued(
    contacts: pl.DataFrame, labels: pl.DataFrame, risks: pl.DataFrame, params: MonitoringPlanParams
) -> pl.DataFrame:
    """Returns contacts with risk, trouble, uncertainty and value, and the features behind them."""
    severe = [f"friction_{name}" for name in params.severe]
    weight = (
        pl.when(pl.col("mark") == "sentiment_negative")
        .then(params.negative_weight)
        .when(pl.col("mark").is_in(severe))
        .then(params.severe_weight)
        .otherwise(params.friction_weight)
    )
    trouble = (
        contact_features(labels)
        .sort("contact_id", "mark")
        .group_by("contact_id", maintain_order=True)
        .agg(
            (1 - (1 - weight * pl.col("p")).product()).alias("trouble"),
            pl.col("mark").sort_by(weight * pl.col("p"), descending=True).alias("marks"),
            pl.col("p").sort_by(weight * pl.col("p"), descending=True).alias("probabilities"),
        )
    )
    p = pl.col("probability").clip(1e-9, 1 - 1e-9)
    entropy = -(p * p.log(2) + (1 - p) * (1 - p).log(2))
    doubt = labels.group_by("contact_id").agg(entropy.mean().alias("uncertainty"))
    scored = risks["risk"].drop_nulls()
    median_risk = float(scored.median()) if len(scored) else 1.0  # type: ignore[arg-type]
    age = (pl.col("started_at").max() - pl.col("started_at")).dt.total_seconds() / 86400
    return (
        contacts.unique("contact_id", keep="first", maintain_order=True)
        .join(risks.select("customer_id", "risk"), on="customer_id", how="left")
        .join(trouble, on="contact_id", how="left")
        .join(doubt, on="contact_id", how="left")
        .with_columns(
            pl.col("trouble").fill_null(0.0),
            pl.col("uncertainty").fill_null(1.0),
            pl.lit(median_risk).alias("usual"),
        )
        .with_columns(
            (
                pl.coalesce("risk", "usual")
                * pl.col("trouble")
                * (1 - params.doubt_weight + params.doubt_weight * pl.col("uncertainty"))
                * 0.5 ** (age / params.half_life_days)
            ).alias("value")
        )
    )


def _why(row: dict[str, Any], params: MonitoringPlanParams) -> str:
    """Returns what made the value, in words, the heaviest feature first."""
    parts = []
    if row["risk"] is not None:
        usual = f"half of all customers are above {row['usual']:.0%}"
        within = f" within {params.horizon_days} days" if params.horizon_days else ""
        parts.append(f"risk of leaving{within} {row['risk']:.0%} ({usual})")
    likely = [
        f"{describe_feature(mark)} ({p:.0%})"
        for mark, p in zip(row["marks"] or [], row["probabilities"] or [], strict=True)
        if p >= 0.5
    ]
    parts += likely[:3]
    if row["uncertainty"] >= 0.5:
        parts.append("the labels are unsure, so hearing it teaches")
    text = "; ".join(parts) or "some sign of friction"
    return text[0].upper() + text[1:] + "."
