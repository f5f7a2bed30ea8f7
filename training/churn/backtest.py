"""Backtests: trains on what was known on a day, scores on what came after it, on several days one after the other.

Only outcomes until the day are learned from: whoever left later had not left yet, and is censored on that day. The exam
is the test customers on the day itself, so neither a customer nor a moment of the exam has been seen in training.
What carries no date (the customer record, and how far labelling rules are trusted) is that of today in every fold.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from data.progress import Progress
from evaluation.metrics.bootstrap import Interval, paired_difference
from evaluation.metrics.churn import churn_metrics, has_both_outcomes, risk_columns, unit_losses
from evaluation.metrics.churn_profit import Campaign
from training.churn.temporal_calibration import known_on
from training.churn.train import ChurnTraining, ChurnTrainingError, train

OUTCOME = ("customer_id", "as_of", "event", "time_days")
MODEL, LIFE_TABLE, LOGISTIC = "churn network", "life table", "logistic regression"


@dataclass(frozen=True)
class BacktestParams:
    """On which days a model is trained and examined."""

    folds: int = 4  # as-of dates examined, evenly spread over those that can be
    min_training_days: int = 180  # from the first as-of date to the first one examined
    min_follow_up_days: int = 90  # from the last one examined to the last day anybody was observed
    seed: int = 7  # of the bootstrap


class Unrecorded:
    """A training run that writes nothing down: a fold's epochs interest nobody."""

    run_id = ""

    def log_params(self, params: dict[str, Any]) -> None:
        """Forgets them."""

    def log_metrics(self, metrics: dict[str, float], step: int) -> None:
        """Forgets them."""


def days_to_examine(rows: pl.DataFrame, params: BacktestParams) -> list[date]:
    """As-of dates with enough to learn from before and enough follow-up after. Raises ChurnTrainingError if none is."""
    days = sorted(rows["as_of"].unique())
    end = rows.select((pl.col("as_of") + pl.duration(days=pl.col("time_days"))).max()).item()
    if end is None:
        raise ChurnTrainingError(
            "backtest: outcomes carry no dates, so there is no future to score on."
        )
    first, last = (
        days[0] + timedelta(days=params.min_training_days),
        end - timedelta(days=params.min_follow_up_days),
    )
    able = [day for day in days if first <= day <= last]
    if not able:
        raise ChurnTrainingError(
            f"backtest: no as-of date lies between {first} and {last}. Lower backtest.min_training_days or "
            "backtest.min_follow_up_days, or deliver a longer history."
        )
    return [
        able[round(place)]
        for place in sorted(set(np.linspace(0, len(able) - 1, min(params.folds, len(able)))))
    ]


def backtest(
    rows: pl.DataFrame,
    params: BacktestParams,
    training: ChurnTraining,
    work_dir: Path,
    campaign: Campaign,
    lead_days: int = 0,
    progress: Progress = lambda done, total: None,
) -> tuple[dict[str, Any], pl.DataFrame]:
    """Summary and predictions (model, customer_id, as_of, event, time_days, risk_…) of every fold.

    `rows` is a feature frame with a column `split`. The summary has `folds` (as_of, rows and leavers learned from, rows
    examined, metrics a model, gain of the network over each reference) and `pooled`, the same over all folds. Only
    horizons that outcomes were followed to before the day are trained for, and only those followed to after it scored.
    A fold that cannot be learned from says so under `skipped`. Raises ChurnTrainingError if none can.
    """
    from evaluation.metrics.churn_references import kaplan_meier, logistic
    from models.churn.model import ChurnModel, feature_columns

    known = rows.filter(pl.col("event").is_not_null())
    days = days_to_examine(known, params)
    folds: list[dict[str, Any]] = []
    predicted: list[pl.DataFrame] = []
    for number, day in enumerate(days):
        past = known_on(known, day, lead_days)
        exam = known.filter((pl.col("as_of") == day) & (pl.col("split") == "test"))
        learned = past.filter(pl.col("split") == "train")
        horizons = tuple(
            days for days in training.horizons_days if has_both_outcomes(learned, days)
        )
        fold: dict[str, Any] = {
            "as_of": day.isoformat(),
            "horizons_days": list(horizons),
            "examined": exam.height,
            "learned_from": {"rows": learned.height, "leavers": _leavers(learned)},
        }
        try:
            found = train(
                training, past, work_dir / day.isoformat(), Unrecorded(), lead_days=lead_days
            )
        except ChurnTrainingError as error:
            folds.append(fold | {"skipped": str(error)})
            continue
        finally:
            progress(number + 1, len(days))
        risks = {
            MODEL: ChurnModel.load(Path(found["model"])).predict(exam),
            LIFE_TABLE: kaplan_meier(learned, exam, horizons),
            LOGISTIC: logistic(learned, exam, feature_columns(rows), horizons_days=horizons),
        }
        theirs = pl.concat(
            exam.select(OUTCOME)
            .join(one, on=["customer_id", "as_of"], maintain_order="left")
            .select(pl.lit(name).alias("model"), pl.all())
            for name, one in risks.items()
        )
        folds.append(fold | judged(theirs, params.seed, campaign))
        predicted.append(theirs)
    if not predicted:
        raise ChurnTrainingError(f"backtest: no fold could be learned from. {folds[0]['skipped']}")
    every = pl.concat(predicted, how="diagonal")
    summary = {"settings": asdict(params), "lead_days": lead_days, "folds": folds}
    return summary | {"pooled": judged(every, params.seed, campaign)}, every


def judged(predictions: pl.DataFrame, seed: int, campaign: Campaign) -> dict[str, Any]:
    """Metrics of each model by horizon, and how much lower the network's losses are than each reference's."""
    frames = {
        name: predictions.filter(pl.col("model") == name) for name in (MODEL, LIFE_TABLE, LOGISTIC)
    }
    metrics: dict[str, dict[str, Any]] = {name: {} for name in frames}
    gains: dict[str, dict[str, Any]] = {name: {} for name in frames if name != MODEL}
    for risk in risk_columns(predictions):
        # Folds that did not learn this horizon have no risk in it.
        asked = {
            name: frame.filter(pl.col(risk).is_not_null()).select(*OUTCOME, risk)
            for name, frame in frames.items()
        }
        for name, frame in asked.items():
            for found in churn_metrics(frame, seed=seed, campaign=campaign).values():
                metrics[name][risk] = {
                    figure: _said(one) for figure, one in found.items() if np.isfinite(one.value)
                }
        if risk not in metrics[MODEL]:
            continue
        losses = {name: unit_losses(frame) for name, frame in asked.items()}
        weight = losses[MODEL]["weight"].to_numpy()
        for name in gains:
            theirs, ours = (
                ((losses[who]["brier"].to_numpy() * weight), weight) for who in (name, MODEL)
            )
            gains[name][risk] = _said(
                paired_difference(theirs, ours, losses[MODEL]["customer_id"].to_numpy(), seed=seed)
            )
    return {"metrics": metrics, "gain_in_brier": gains}


def _leavers(rows: pl.DataFrame) -> int:
    return rows.filter(pl.col("event"))["customer_id"].n_unique()


def _said(one: Interval) -> dict[str, float | int | None]:
    return {
        "value": one.value,
        "low": one.low,
        "high": one.high,
        "rows": one.units,
        "customers": one.clusters,
    }
