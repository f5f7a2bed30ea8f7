"""Backtests churn training: trains on what was known on a day and scores on what came after it.

Only outcomes until the day are trained on: whoever left later is censored on that day. The test set
is the test customers on the day itself, so neither a customer nor a moment of it is in training.
What carries no date (the customer record, and the accuracies of labelling rules) is that of today
in every fold.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from data.progress import Progress
from evaluation.metrics.bootstrap import Interval, paired_difference
from evaluation.metrics.churn import churn_metrics, has_both_outcomes, risk_columns, unit_losses
from evaluation.metrics.churn_profit import Campaign
from training.churn.learnable import ChurnTrainingError, n_churners
from training.churn.settings import ChurnTraining
from training.churn.temporal_calibration import rows_known_on
from training.churn.train import train
from training.run import UnrecordedRun

OUTCOME = ("customer_id", "as_of", "event", "time_days")
MODEL, LIFE_TABLE, LOGISTIC = "churn network", "life table", "logistic regression"


@dataclass(frozen=True)
class LastQuarterParams:
    """How the gate asks the last quarter (training.churn.forward)."""

    # As-of dates at most so long before the end of observation are the quarter; 0: it is not asked.
    days: int = 92
    folds: int = 2  # of customers; each costs a training on the others

    def __post_init__(self) -> None:
        """Raises ValueError for a single fold, which leaves nobody to train on."""
        if self.folds < 2 or self.days < 0:
            raise ValueError(
                f"backtest.last_quarter: {self.days} days in {self.folds} folds. Give 0 days or "
                "more, and 2 folds or more."
            )


@dataclass(frozen=True)
class BacktestParams:
    """On which days a model is trained and tested."""

    folds: int = 4  # as-of dates to test on, evenly spread over those that can be
    min_training_days: int = 180  # from the first as-of date to the first one tested on
    min_follow_up_days: int = 90  # from the last one tested on to the last day of observation
    seed: int = 7  # of the bootstrap
    # What the gate of a churn model asks besides its held-out customers.
    last_quarter: LastQuarterParams = field(default_factory=LastQuarterParams)


def choose_test_days(rows: pl.DataFrame, params: BacktestParams) -> list[date]:
    """Returns as-of dates with enough training data before and enough follow-up after.

    Raises ChurnTrainingError if there is none.
    """
    days = sorted(rows["as_of"].unique())
    end = rows.select((pl.col("as_of") + pl.duration(days=pl.col("time_days"))).max()).item()
    if end is None:
        raise ChurnTrainingError(
            "backtest: outcomes carry no dates, so there is no future to score on."
        )
    first = days[0] + timedelta(days=params.min_training_days)
    last = end - timedelta(days=params.min_follow_up_days)
    usable = [day for day in days if first <= day <= last]
    if not usable:
        raise ChurnTrainingError(
            f"backtest: no as-of date lies between {first} and {last}. Lower "
            "backtest.min_training_days or backtest.min_follow_up_days, or deliver a longer "
            "history."
        )
    places = np.linspace(0, len(usable) - 1, min(params.folds, len(usable)))
    return [usable[round(place)] for place in sorted(set(places))]


def backtest(
    rows: pl.DataFrame,
    params: BacktestParams,
    training: ChurnTraining,
    *,
    work_dir: Path,
    campaign: Campaign,
    lead_days: int = 0,
    progress: Progress = lambda done, total: None,
) -> tuple[dict[str, Any], pl.DataFrame]:
    """Returns a summary and the predictions of every fold.

    Predictions hold model, customer_id, as_of, event, time_days and risk_…; `rows` is a feature
    frame with a column `split`. The summary has `folds` (as_of, learned_from with rows and churners
    trained on, examined (rows tested on), metrics of each model, gain of the network over each
    reference) and `pooled`, the same over all folds. Trained are only horizons that outcomes
    reached before the day, scored only those reached after it. A fold that cannot be trained says
    why under `skipped`. Raises ChurnTrainingError if none can.
    """
    rows = rows.filter(pl.col("event").is_not_null())
    days = choose_test_days(rows, params)
    folds: list[dict[str, Any]] = []
    predictions: list[pl.DataFrame] = []
    for number, day in enumerate(days):
        past = rows_known_on(rows, day, lead_days)
        test = rows.filter((pl.col("as_of") == day) & (pl.col("split") == "test"))
        trained_on = past.filter(pl.col("split") == "train")
        horizons = tuple(
            days for days in training.horizons_days if has_both_outcomes(trained_on, days)
        )
        fold: dict[str, Any] = {
            "as_of": day.isoformat(),
            "horizons_days": list(horizons),
            "examined": test.height,
            "learned_from": {"rows": trained_on.height, "leavers": n_churners(trained_on)},
        }
        try:
            summary = train(
                training,
                past,
                work_dir / day.isoformat(),
                run=UnrecordedRun(),
                lead_days=lead_days,
            )
        except ChurnTrainingError as error:
            folds.append(fold | {"skipped": str(error)})
            continue
        finally:
            progress(number + 1, len(days))
        predicted = _predict(Path(summary["model"]), trained_on, test, horizons=horizons)
        folds.append(fold | compare_models(predicted, params.seed, campaign))
        predictions.append(predicted)
    if not predictions:
        raise ChurnTrainingError(f"backtest: no fold could be learned from. {folds[0]['skipped']}")
    pooled = pl.concat(predictions, how="diagonal")
    return {
        "settings": asdict(params),
        "lead_days": lead_days,
        "folds": folds,
        "pooled": compare_models(pooled, params.seed, campaign),
    }, pooled


def compare_models(predictions: pl.DataFrame, seed: int, campaign: Campaign) -> dict[str, Any]:
    """Returns the metrics of each model by horizon, and the network's gains over each reference.

    A gain is the reference's Brier score less the network's, with its interval.
    """
    frames = {
        name: predictions.filter(pl.col("model") == name) for name in (MODEL, LIFE_TABLE, LOGISTIC)
    }
    metrics: dict[str, dict[str, Any]] = {name: {} for name in frames}
    gains: dict[str, dict[str, Any]] = {name: {} for name in frames if name != MODEL}
    for risk in risk_columns(predictions):
        # Folds that did not train this horizon have no risk in it.
        scored = {
            name: frame.filter(pl.col(risk).is_not_null()).select(*OUTCOME, risk)
            for name, frame in frames.items()
        }
        for name, frame in scored.items():
            for intervals in churn_metrics(frame, seed=seed, campaign=campaign).values():
                metrics[name][risk] = {
                    metric: _to_dict(interval)
                    for metric, interval in intervals.items()
                    if np.isfinite(interval.value)
                }
        if risk not in metrics[MODEL]:
            continue
        losses = {name: unit_losses(frame) for name, frame in scored.items()}
        weight = losses[MODEL]["weight"].to_numpy()
        customers = losses[MODEL]["customer_id"].to_numpy()
        for name in gains:
            reference, network = (
                ((losses[model]["brier"].to_numpy() * weight), weight) for model in (name, MODEL)
            )
            gains[name][risk] = _to_dict(
                paired_difference(reference, network, customers, seed=seed)
            )
    return {"metrics": metrics, "gain_in_brier": gains}


def _predict(
    model: Path, trained_on: pl.DataFrame, test: pl.DataFrame, *, horizons: tuple[int, ...]
) -> pl.DataFrame:
    """Returns outcomes and risks on `test` by the network and both references, one after the other.

    The references are fitted on `trained_on`.
    """
    from evaluation.metrics.churn_references import kaplan_meier, logistic
    from models.churn.model import ChurnModel, feature_columns

    risks = {
        MODEL: ChurnModel.load(model).predict(test),
        LIFE_TABLE: kaplan_meier(trained_on, test, horizons),
        LOGISTIC: logistic(trained_on, test, feature_columns(trained_on), horizons_days=horizons),
    }
    return pl.concat(
        test.select(OUTCOME)
        .join(risk, on=["customer_id", "as_of"], maintain_order="left")
        .select(pl.lit(name).alias("model"), pl.all())
        for name, risk in risks.items()
    )


def _to_dict(interval: Interval) -> dict[str, float | int | None]:
    return {
        "value": interval.value,
        "low": interval.low,
        "high": interval.high,
        "rows": interval.units,
        "customers": interval.clusters,
    }
