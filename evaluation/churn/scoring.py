"""Scores a churn model on held-out customers, or on what the life table says of them."""

from __future__ import annotations

import hashlib
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from data.files import write_table

if TYPE_CHECKING:
    from data.features.features import FeatureParams
    from evaluation.metrics.churn_profit import Campaign
    from evaluation.scorecard import Scorecard


SLICES = (
    "plan",
    "region",
    "last_channel",
    "tenure",
    "price",
)  # customers are told apart by when models are judged


TENURE_DAYS = {365: "under a year", 3 * 365: "one to three years"}  # and above


PRICES = ("low third", "middle third", "high third")


MOST_SLICES = 12  # a column with more values tells of single customers


LIFE_TABLE = (
    "life table"  # the reference before there is a champion: knows how many leave, but not who
)


def score(
    rows: pl.DataFrame,
    model: str | Path | None,
    name: str,
    bundle_sha256: str,
    horizons_days: tuple[int, ...],
    seed: int,
    now: datetime,
    truth: Path | None,
    predictions: Path | None = None,
    campaign: Campaign | None = None,
) -> Scorecard:
    """Scores the bundle at `model` (None: the life table) on the held-out customers of the feature frame `rows`.

    Facts of a bundle hold the figures of the life table and of logistic regressions on the same rows, and where the
    simulator's `truth` is there, the share of the attainable Brier skill. The predictions with their outcomes are
    left at `predictions`. Raises ValueError without held-out outcomes.
    """
    from evaluation.churn.scorecard import churn_scorecard
    from evaluation.metrics.churn import PAPER, attainable_skill, both_seen, point_metrics
    from evaluation.metrics.churn_references import kaplan_meier, logistic
    from models.churn.model import ChurnModel, feature_columns

    known = rows.filter(pl.col("event").is_not_null())
    train, test = known.filter(pl.col("split") == "train"), held_out_rows(rows)
    if test.is_empty():
        raise ValueError(
            "no held-out customer with a known outcome. Deliver outcomes, or raise splits.test_share."
        )
    horizons = horizons_days if known["time_days"].is_not_null().any() else ()
    banded = test.with_columns(bands(test))
    slice_by = [
        name
        for name in SLICES
        if name in banded.columns and 1 < banded[name].n_unique() <= MOST_SLICES
    ]
    outcomes = banded.select("customer_id", "as_of", "event", "time_days", *slice_by)
    campaign = campaign or PAPER

    def with_outcomes(risks: pl.DataFrame) -> pl.DataFrame:
        return outcomes.join(risks, on=["customer_id", "as_of"], maintain_order="left")

    facts: dict[str, Any] = {}
    if model is None:
        frame = with_outcomes(kaplan_meier(train, test, horizons))
    else:
        network = ChurnModel.load(Path(model))
        frame = with_outcomes(network.predict(test))
        baselines = {LIFE_TABLE: kaplan_meier(train, test, horizons)}
        seen = tuple(days for days in horizons if both_seen(train, days))
        if seen or not horizons:
            baselines["logistic regression"] = logistic(train, test, feature_columns(rows), seen)
        facts["parameters"] = sum(weight.numel() for weight in network.network.parameters())
        facts["baselines"] = {
            who: point_metrics(with_outcomes(risks), campaign) for who, risks in baselines.items()
        }
        if truth is not None:
            true_risks = pl.read_parquet(truth)
            facts["attainable_skill"] = {
                who: attainable_skill(risks, true_risks)
                for who, risks in {name: frame, **baselines}.items()
            }
    if predictions is not None:
        write_table(predictions, frame)
    return churn_scorecard(
        name, hash_of(test), frame, seed, now.isoformat(), bundle_sha256, facts, slice_by, campaign
    )


def bands(rows: pl.DataFrame) -> list[pl.Series]:
    """`tenure` and `price` of each row in words, where the columns behind them are there: what slices are made of.

    Prices are divided into thirds of these rows; equal prices are in one.
    """
    made = []
    if "tenure_days" in rows.columns:
        days = rows["tenure_days"].cut(
            list(TENURE_DAYS), labels=[*TENURE_DAYS.values(), "over three years"]
        )
        made.append(days.cast(pl.String).alias("tenure"))
    prices = (
        rows["monthly_price"].drop_nulls().sort()
        if "monthly_price" in rows.columns
        else pl.Series()
    )
    if len(prices):
        edges = sorted({float(prices[len(prices) * part // 3]) for part in (1, 2)})
        named = rows["monthly_price"].cut(
            edges, labels=list(PRICES[: len(edges) + 1]), left_closed=True
        )
        made.append(named.cast(pl.String).alias("price"))
    return made


def truth(path: Path, params: FeatureParams) -> Path | None:
    """Where the simulator's true risks lie; None where there are none, or none of outcomes with a lead time."""
    return path if path.is_file() and not params.lead_days else None


def held_out_rows(rows: pl.DataFrame) -> pl.DataFrame:
    """The rows of a feature frame that a model is scored on: held out, with a known outcome."""
    return rows.filter(pl.col("event").is_not_null() & (pl.col("split") == "test"))


def hash_of(test: pl.DataFrame) -> str:
    """SHA-256 (hex) of the rows a model was scored on, whatever their order."""
    return hashlib.sha256(test.sort("customer_id", "as_of").write_csv().encode()).hexdigest()
