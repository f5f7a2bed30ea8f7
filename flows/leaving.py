"""The churn model's side of the street: scoring held-out customers, scoring everyone."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
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
    from evaluation.metrics.churn import PAPER, attainable_skill, both_seen, point_metrics
    from evaluation.metrics.churn_references import kaplan_meier, logistic
    from evaluation.scorecard import churn_scorecard
    from models.churn.model import ChurnModel, feature_columns

    known = rows.filter(pl.col("event").is_not_null())
    train, test = known.filter(pl.col("split") == "train"), examined(rows)
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


def examined(rows: pl.DataFrame) -> pl.DataFrame:
    """The rows of a feature frame that a model is scored on: held out, with a known outcome."""
    return rows.filter(pl.col("event").is_not_null() & (pl.col("split") == "test"))


def hash_of(test: pl.DataFrame) -> str:
    """SHA-256 (hex) of the rows a model was scored on, whatever their order."""
    return hashlib.sha256(test.sort("customer_id", "as_of").write_csv().encode()).hexdigest()


def smoke_sample(current: pl.DataFrame) -> dict[str, Any]:
    """A few present customers as the body of a request, for the service to score before a release."""
    from models.churn.model import feature_columns

    names = feature_columns(current)
    return {
        "rows": [
            {"customer_id": row["customer_id"], "features": {name: row[name] for name in names}}
            for row in current.head(5).to_dicts()
        ]
    }


def score_all(model: str | None, current: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """(risks, reasons) of every row of `current`, riskiest first; both empty when no model is in office."""
    if model is None:
        return (
            pl.DataFrame(schema={"customer_id": pl.String, "as_of": pl.Date}),
            pl.DataFrame(
                schema={"customer_id": pl.String, "rank": pl.Int64, "sentence": pl.String}
            ),
        )
    from models.churn.model import ChurnModel

    network = ChurnModel.load(Path(model))
    risks = network.predict(current)
    return risks.sort(risks.columns[-1], descending=True), network.reasons(current)


def unseen(model: str | None, current: pl.DataFrame) -> dict[str, dict[str, int]]:
    """Categories of `current` that the model's training never saw, a feature, with how many customers have each."""
    if model is None:
        return {}
    from data.plain_table import unseen
    from models.churn.model import ChurnModel

    columns = ChurnModel.load(Path(model)).config.columns
    return unseen(
        current, {column.name: column.values for column in columns if column.kind == "categorical"}
    )


def keep_scores(folder: Path, scores: pl.DataFrame, model: str) -> None:
    """Keeps what was predicted for the day that its horizons have passed: one file an as-of date and model."""
    folder.mkdir(parents=True, exist_ok=True)
    for (day,), rows in scores.group_by("as_of"):
        name = f"{day}-{hashlib.sha256(model.encode()).hexdigest()[:12]}.parquet"
        write_table(
            folder / name, rows.select(pl.lit(model).alias("model"), pl.all()).sort("customer_id")
        )


def matured(
    folder: Path,
    tables: Mapping[str, pl.DataFrame],
    params: FeatureParams,
    seed: int,
    campaign: Campaign,
) -> list[dict[str, Any]]:
    """How the scores kept in `folder` have turned out, by model and horizon (evaluation.matured); [] where none are."""
    from data.features.features import is_dated, of_event, snapshot
    from evaluation.matured import matured

    files = sorted(folder.glob("*.parquet"))
    if not files or not is_dated(tables["outcomes"], params):
        return []
    scored = pl.concat([pl.read_parquet(file) for file in files], how="diagonal")
    outcomes = of_event(tables["outcomes"], params).unique(
        "customer_id", keep="first", maintain_order=True
    )
    today = snapshot(tables["outcomes"], tables["contacts"], params)
    return matured(scored, outcomes, today, seed, params.lead_days, campaign)
