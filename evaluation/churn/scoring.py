"""Scores a churn model, or the life table in its place, on held-out customers."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from data.files import write_table

if TYPE_CHECKING:
    from data.features.features import FeatureParams
    from evaluation.metrics.churn_profit import Campaign
    from evaluation.scorecard import Scorecard

# Columns by which customers are sliced, and for two of them the bands their values are put in.
SLICE_COLUMNS = ("plan", "region", "last_channel", "tenure", "price")
TENURE_BANDS_DAYS = {365: "under a year", 3 * 365: "one to three years"}  # and above
PRICE_BANDS = ("low third", "middle third", "high third")
MAX_SLICES = 12  # a column with more values would single out customers
# The reference before there is a champion: it knows how many leave, but not who.
LIFE_TABLE, LOGISTIC = "life table", "logistic regression"
# How they name columns of a scorecard's units (evaluation.churn.scorecard).
COLUMNS = {LIFE_TABLE: "life_table", LOGISTIC: "logistic"}


def score(
    rows: pl.DataFrame,
    model: str | Path | None,
    *,
    name: str,
    bundle_sha256: str,
    horizons_days: tuple[int, ...],
    seed: int,
    now: datetime,
    truth: Path | None,
    predictions: Path | None = None,
    campaign: Campaign | None = None,
) -> Scorecard:
    """Scores the bundle at `model` (None: the life table) on held-out rows of a feature frame.

    Facts of a bundle hold the figures of the life table and of logistic regressions on the same
    rows, and with the simulator's `truth` the share of the attainable Brier skill. The predictions
    with their outcomes are written to `predictions`. Raises ValueError without held-out outcomes.
    """
    from evaluation.churn.scorecard import churn_scorecard
    from evaluation.metrics.churn import PAPER_CAMPAIGN
    from evaluation.metrics.churn_references import kaplan_meier
    from models.churn.model import ChurnModel

    with_outcome = rows.filter(pl.col("event").is_not_null())
    train, test = with_outcome.filter(pl.col("split") == "train"), held_out_rows(rows)
    if test.is_empty():
        raise ValueError(
            "no held-out customer with a known outcome. Deliver outcomes, or raise "
            "splits.test_share."
        )
    horizons = horizons_days if with_outcome["time_days"].is_not_null().any() else ()
    banded = test.with_columns(slice_columns(test))
    slice_by = [
        name
        for name in SLICE_COLUMNS
        if name in banded.columns and 1 < banded[name].n_unique() <= MAX_SLICES
    ]
    outcomes = banded.select("customer_id", "as_of", "event", "time_days", *slice_by)
    campaign = campaign or PAPER_CAMPAIGN

    def with_outcomes(risks: pl.DataFrame) -> pl.DataFrame:
        return outcomes.join(risks, on=["customer_id", "as_of"], maintain_order="left")

    facts: dict[str, Any] = {}
    baselines = {LIFE_TABLE: kaplan_meier(train, test, horizons)}
    if model is None:
        frame = with_outcomes(baselines[LIFE_TABLE])
    else:
        network = ChurnModel.load(Path(model))
        frame = with_outcomes(network.predict(test))
        facts["parameters"] = sum(weight.numel() for weight in network.network.parameters())
        baselines |= _logistic(rows, train, test, horizons=horizons)
        facts |= _baseline_facts(
            baselines, with_outcomes, campaign, predicted={name: frame}, truth=truth
        )
    if predictions is not None:
        write_table(predictions, frame)
    return churn_scorecard(
        frame,
        model=name,
        data_hash=rows_hash(test),
        seed=seed,
        created_at=now.isoformat(),
        bundle_sha256=bundle_sha256,
        facts=facts,
        slice_by=slice_by,
        campaign=campaign,
        baselines={
            COLUMNS[baseline]: with_outcomes(risks) for baseline, risks in baselines.items()
        },
    )


def _logistic(
    rows: pl.DataFrame, train: pl.DataFrame, test: pl.DataFrame, *, horizons: tuple[int, ...]
) -> dict[str, pl.DataFrame]:
    """Returns the risks a logistic regression predicts for `test`, by its name; empty if none can."""
    from evaluation.metrics.churn import has_both_outcomes
    from evaluation.metrics.churn_references import logistic
    from models.churn.model import feature_columns

    learnable = tuple(days for days in horizons if has_both_outcomes(train, days))
    if horizons and not learnable:
        return {}
    return {LOGISTIC: logistic(train, test, feature_columns(rows), horizons_days=learnable)}


def _baseline_facts(
    baselines: Mapping[str, pl.DataFrame],
    with_outcomes: Callable[[pl.DataFrame], pl.DataFrame],
    campaign: Campaign,
    *,
    predicted: Mapping[str, pl.DataFrame],
    truth: Path | None,
) -> dict[str, Any]:
    """Returns the baselines' figures and, with `truth`, everyone's share of attainable skill."""
    from evaluation.metrics.churn import attainable_skill, point_metrics

    facts: dict[str, Any] = {
        "baselines": {
            name: point_metrics(with_outcomes(risks), campaign) for name, risks in baselines.items()
        }
    }
    if truth is not None:
        true_risks = pl.read_parquet(truth)
        facts["attainable_skill"] = {
            name: attainable_skill(risks, true_risks)
            for name, risks in {**predicted, **baselines}.items()
        }
    return facts


def slice_columns(rows: pl.DataFrame) -> list[pl.Series]:
    """Returns the columns `tenure` and `price` of each row in words, where `rows` have the values.

    Prices are divided into thirds of these rows; equal prices are in one.
    """
    columns = []
    if "tenure_days" in rows.columns:
        days = rows["tenure_days"].cut(
            list(TENURE_BANDS_DAYS), labels=[*TENURE_BANDS_DAYS.values(), "over three years"]
        )
        columns.append(days.cast(pl.String).alias("tenure"))
    prices = (
        rows["monthly_price"].drop_nulls().sort()
        if "monthly_price" in rows.columns
        else pl.Series()
    )
    if len(prices):
        edges = sorted({float(prices[len(prices) * part // 3]) for part in (1, 2)})
        bands = rows["monthly_price"].cut(
            edges, labels=list(PRICE_BANDS[: len(edges) + 1]), left_closed=True
        )
        columns.append(bands.cast(pl.String).alias("price"))
    return columns


def true_risks_path(path: Path, params: FeatureParams) -> Path | None:
    """Returns the path of the simulator's true risks; None where there are none that apply.

    True risks begin at the as-of date, so none apply to outcomes with a lead time.
    """
    return path if path.is_file() and not params.lead_days else None


def as_held_out(rows: pl.DataFrame, side: str) -> pl.DataFrame:
    """Returns the rows with another side than the test side held out; test rows are dropped."""
    split = pl.when(pl.col("split") == side).then(pl.lit("test")).otherwise(pl.col("split"))
    return rows.filter(pl.col("split") != "test").with_columns(split.alias("split"))


def held_out_rows(rows: pl.DataFrame) -> pl.DataFrame:
    """Returns the rows of a feature frame that models are scored on: held out, outcome known."""
    return rows.filter(pl.col("event").is_not_null() & (pl.col("split") == "test"))


def rows_hash(test: pl.DataFrame) -> str:
    """Returns the SHA-256 (hex) of the rows a model was scored on, in any order."""
    return hashlib.sha256(test.sort("customer_id", "as_of").write_csv().encode()).hexdigest()
