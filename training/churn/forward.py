"""Asks the last quarter: trains a recipe on what was known before it, and scores what came after.

The held-out customers of the gate are examined at the same as-of dates that training learned from,
so a model that fits the past and fails in the future passes there. Here recipes are compared, not
models: each is trained on the outcomes known on the first day of the quarter and predicts the
quarter. The customers are divided into folds, and each is predicted by a training that never saw
him; so all customers give evidence, where the held-out fifth has too few who left in a quarter. What
carries no date (the customer record, the accuracies of labelling rules) is that of today.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import polars as pl

from evaluation.metrics.churn import has_both_outcomes
from training.churn.backtest import LastQuarterParams
from training.churn.learnable import ChurnTrainingError
from training.churn.settings import ChurnTraining
from training.churn.temporal_calibration import rows_known_on
from training.churn.train import train
from training.run import UnrecordedRun

MODEL, LIFE_TABLE, LOGISTIC = "model", "life_table", "logistic"
_VALID_SHARE = 0.15  # of the customers trained on, to stop and calibrate on
# Settings of a recipe that do not change its result.
_IRRELEVANT = ("checkpoint_every", "min_customers", "min_events", "leak_auc")


@dataclass(frozen=True)
class Quarter:
    """Predictions of the last quarter by models trained on what was known on `day`.

    `risks` maps MODEL, LIFE_TABLE and LOGISTIC to outcomes and risks, one row a customer and as-of
    date: customer_id, as_of, event, time_days, risk_<days>.
    """

    day: date
    dates: int
    risks: dict[str, pl.DataFrame]


def predict_last_quarter(
    rows: pl.DataFrame,
    recipe: ChurnTraining,
    params: LastQuarterParams,
    *,
    work_dir: Path,
    lead_days: int = 0,
    baselines: bool = True,
) -> Quarter:
    """Trains `recipe` before the last quarter of `rows` and returns its predictions of the quarter.

    `rows` is a feature frame with `split`, which is not used: the models are thrown away, and no
    choice rests on who was in training. Without `baselines` only the recipe itself is trained.
    Raises ChurnTrainingError where outcomes carry no dates, the history is too short, or a fold
    cannot be trained.
    """
    from evaluation.metrics.churn_references import kaplan_meier, logistic
    from models.churn.model import ChurnModel, feature_columns

    rows = rows.filter(pl.col("event").is_not_null())
    day = first_day(rows, params)
    folded = rows.with_columns(_fold(rows["customer_id"], params.folds).alias("fold"))
    quarter = folded.filter(pl.col("as_of") >= day)
    past = rows_known_on(folded, day, lead_days)
    horizons = tuple(
        days
        for days in recipe.horizons_days
        if has_both_outcomes(quarter, days) and has_both_outcomes(past, days)
    )
    if not horizons:
        raise ChurnTrainingError(
            f"last quarter: since {day} nobody was seen to leave within "
            f"{recipe.horizons_days[0]} days. Deliver later outcomes."
        )
    predicted: dict[str, list[pl.DataFrame]] = {}
    for fold in range(params.folds):
        known = past.filter(pl.col("fold") != fold).drop("fold")
        test = quarter.filter(pl.col("fold") == fold).drop("fold")
        known = known.with_columns(_valid_or_train(known["customer_id"]).alias("split"))
        summary = train(
            replace(recipe, horizons_days=horizons),
            known,
            work_dir / f"fold-{fold}",
            run=UnrecordedRun(),
            lead_days=lead_days,
        )
        risks = {MODEL: ChurnModel.load(Path(summary["model"])).predict(test)}
        if baselines:
            risks[LIFE_TABLE] = kaplan_meier(known, test, horizons)
            risks[LOGISTIC] = logistic(known, test, feature_columns(known), horizons_days=horizons)
        outcomes = test.select("customer_id", "as_of", "event", "time_days")
        for name, risk in risks.items():
            predicted.setdefault(name, []).append(
                outcomes.join(risk, on=["customer_id", "as_of"], maintain_order="left")
            )
    return Quarter(
        day,
        quarter["as_of"].n_unique(),
        {name: pl.concat(parts, how="diagonal") for name, parts in predicted.items()},
    )


def first_day(rows: pl.DataFrame, params: LastQuarterParams) -> date:
    """Returns the first as-of date of the last quarter.

    Raises ChurnTrainingError where outcomes carry no dates, or no earlier date is left to train on.
    """
    end = rows.select((pl.col("as_of") + pl.duration(days=pl.col("time_days"))).max()).item()
    if end is None:
        raise ChurnTrainingError("last quarter: outcomes carry no dates, so there is no future.")
    begin = end - timedelta(days=params.days)
    days: list[date] = sorted(rows["as_of"].unique())
    within = [day for day in days if day >= begin]
    if not within or within[0] == days[0]:
        raise ChurnTrainingError(
            f"last quarter: as-of dates from {days[0]} to {days[-1]} leave nothing to train on "
            f"before {begin}. Deliver a longer history."
        )
    return within[0]


def recipe_of(logged: Mapping[str, str]) -> ChurnTraining:
    """Returns the recipe a bundle was trained with, from the parameters its manifest lists.

    They are strings, as MLflow keeps them; nested ones are named with dots. Those that are no
    setting today are left out, and settings not listed are today's defaults.
    """
    recipe = ChurnTraining()
    plain = {field.name for field in fields(recipe)} - {"boosting"}
    nested = {field.name for field in fields(recipe.boosting)}
    boosting = {
        name.removeprefix("boosting."): ast.literal_eval(value)
        for name, value in logged.items()
        if name.removeprefix("boosting.") in nested and name.startswith("boosting.")
    }
    settings: dict[str, Any] = {
        name: ast.literal_eval(value) for name, value in logged.items() if name in plain
    }
    return replace(recipe, **settings, boosting=replace(recipe.boosting, **boosting))


def same_recipe(first: ChurnTraining, second: ChurnTraining) -> bool:
    """Returns whether two recipes train the same model on the same rows."""
    neutral = {name: getattr(first, name) for name in _IRRELEVANT}
    return replace(second, **neutral) == first


def _fold(customer: pl.Series, folds: int) -> pl.Series:
    """Returns the fold of each customer, by a hash of his id."""
    return _hashed(customer, "fold", folds)


def _valid_or_train(customer: pl.Series) -> pl.Series:
    parts = round(1 / _VALID_SHARE)
    valid = _hashed(customer, "valid", parts) == 0
    return valid.replace_strict({True: "valid", False: "train"}, return_dtype=pl.String)


def _hashed(customer: pl.Series, salt: str, parts: int) -> pl.Series:
    ids = customer.cast(pl.String).unique()
    numbers = [
        int(hashlib.sha256(f"{salt} {name}".encode()).hexdigest()[:12], 16) % parts for name in ids
    ]
    return customer.cast(pl.String).replace_strict(ids, numbers, return_dtype=pl.Int64)
