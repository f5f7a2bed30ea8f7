"""Metrics of predicted risks by horizon, where some customers were not observed to its end.

Censoring is undone by inverse probability weights (IPCW: Graf et al., 1999; for AUC Uno et al.,
2007): customers whose state at the horizon is known stand for those whose is not. The weights come
from a Kaplan–Meier curve of censoring, one for each as-of date, since later dates are observed for
less long. An as-of date that nobody was observed from to the end of a horizon is left out there.
Intervals draw whole customers, who may have several as-of dates.

Predictions are frames with customer_id, as_of, event, time_days (as data.features makes them) and
risk_<days>, or risk where outcomes have no dates.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import polars as pl

from evaluation.metrics.bootstrap import LEVEL, Interval, in_batches, ratio_of_sums
from evaluation.metrics.churn_concordance import concordant_pairs
from evaluation.metrics.churn_figures import figures
from evaluation.metrics.churn_profit import Campaign

PAPER_CAMPAIGN = Campaign()  # the retention campaign EMPC is usually quoted for
# An as-of date with less of its customers observed to the horizon would get huge weights.
_MIN_OBSERVED_SHARE = 0.05


def risk_columns(frame: pl.DataFrame) -> list[str]:
    """Returns risk_30, risk_90, … in order of days, or risk."""
    dated = sorted(
        (int(name[5:]), name)
        for name in frame.columns
        if name.startswith("risk_") and name[5:].isdigit()
    )
    return [name for _, name in dated] or [name for name in frame.columns if name == "risk"]


def horizon_days(name: str) -> int | None:
    """Returns the horizon of a risk column: risk_90 → 90; risk (a target without dates) → None."""
    return int(name.removeprefix("risk_")) if name != "risk" else None


def outcomes_by_horizon(
    frame: pl.DataFrame, horizon_days: int | None
) -> tuple[np.ndarray, np.ndarray]:
    """Returns whether each row's customer had left by the horizon (bool [rows]), and its weight.

    The weight is 0 where that is not known. Without a horizon the target is `event` itself, and
    weights are 1 where it is known.
    """
    event = frame["event"].fill_null(False).to_numpy()
    weight = np.zeros(frame.height)
    if horizon_days is None:
        return event, frame["event"].is_not_null().to_numpy().astype(np.float64)
    time = frame["time_days"].fill_null(0.0).to_numpy()
    stratum = frame["as_of"].rank("dense").to_numpy()
    for number in np.unique(stratum):
        rows = np.flatnonzero((stratum == number) & (time > 0))
        weight[rows] = _weights(time[rows], event[rows], horizon_days)
    return event & (time <= horizon_days), weight


def has_both_outcomes(frame: pl.DataFrame, horizon_days: int) -> bool:
    """Returns whether some had left by the horizon and some not, of rows observed that long."""
    left, weight = outcomes_by_horizon(frame, horizon_days)
    return bool(left[weight > 0].any() and not left[weight > 0].all())


def _weights(time: np.ndarray, event: np.ndarray, horizon_days: int) -> np.ndarray:
    """Returns the inverse probability of having been observed, float64 [rows] of one as-of date."""
    if not len(time):
        return np.zeros(len(time))
    moments, place = np.unique(time, return_inverse=True)
    left = np.bincount(place, event, len(moments))
    censored = np.bincount(place, ~event, len(moments))
    # Who leaves on a day is not censored on it.
    at_risk = np.cumsum((left + censored)[::-1])[::-1] - left
    steps = 1 - np.divide(censored, at_risk, out=np.zeros(len(moments)), where=at_risk > 0)
    # Probability of being observed until just before each moment.
    before = np.concatenate([[1.0], np.cumprod(steps)])
    at_horizon = before[np.searchsorted(moments, horizon_days)]
    if at_horizon < _MIN_OBSERVED_SHARE:
        return np.zeros(len(time))
    by_then = event & (time <= horizon_days)
    return np.where(by_then, 1 / before[place], np.where(time >= horizon_days, 1 / at_horizon, 0.0))


def unit_losses(frame: pl.DataFrame) -> pl.DataFrame:
    """Returns the losses of each row and horizon, for paired comparison.

    Columns: customer_id, as_of, risk (the name of the horizon's column), weight, predicted, left (1
    for who had left by then), brier, log_loss. A model's figure is sum(weight · loss) /
    sum(weight); rows of weight 0 are left out. Two models on the same rows have the same weights in
    the same order.
    """
    parts = []
    for name in risk_columns(frame):
        left, weight = outcomes_by_horizon(frame, horizon_days(name))
        risk = np.clip(frame[name].to_numpy(), 1e-7, 1 - 1e-7)
        parts.append(
            frame.select("customer_id", "as_of").with_columns(
                pl.lit(name).alias("risk"),
                pl.Series("weight", weight),
                pl.Series("predicted", frame[name].to_numpy().astype(np.float64)),
                pl.Series("left", left.astype(np.float64)),
                pl.Series("brier", (risk - left) ** 2),
                pl.Series("log_loss", -np.log(np.where(left, risk, 1 - risk))),
            )
        )
    return pl.concat(parts).filter(pl.col("weight") > 0)


def churn_metrics(
    frame: pl.DataFrame, *, seed: int, draws: int = 300, campaign: Campaign = PAPER_CAMPAIGN
) -> dict[str, dict[str, Interval]]:
    """Returns brier, log_loss and the figures of `churn_figures`, with intervals, by risk column.

    A horizon that no as-of date is observed up to, or at which all or none had left, is left out.
    Raises ValueError when there is no risk column.
    """
    metrics = churn_figures(frame, seed=seed, draws=draws, campaign=campaign)
    losses = unit_losses(frame)
    for name in metrics:
        part = losses.filter(pl.col("risk") == name)
        weight, customer = part["weight"].to_numpy(), part["customer_id"].to_numpy()
        metrics[name] |= {
            loss: ratio_of_sums(part[loss].to_numpy() * weight, weight, customer, seed=seed)
            for loss in ("brier", "log_loss")
        }
    return metrics


def churn_figures(
    frame: pl.DataFrame, *, seed: int, draws: int = 300, campaign: Campaign = PAPER_CAMPAIGN
) -> dict[str, dict[str, Interval]]:
    """Returns figures that are no means of losses, with intervals by customer, by risk column.

    auc, average_precision, lift_5, lift_10, lift_20, ece, calibration_intercept, calibration_slope,
    expected_rate, observed_rate, empc (expected maximum profit a customer of `campaign`),
    empc_contacted (the share of customers it contacts) and, with dates, c_index (Uno's, of pairs up
    to the horizon). Raises ValueError when there is no risk column.
    """
    names = risk_columns(frame)
    if not names:
        raise ValueError(
            "churn metrics: no column risk or risk_<days>. Join the predictions to their outcomes "
            "first."
        )
    metrics: dict[str, dict[str, Interval]] = {}
    for name in names:
        left, weight = outcomes_by_horizon(frame, horizon_days(name))
        weighted = weight > 0
        if not weighted.any() or left[weighted].all() or not left[weighted].any():
            continue
        risk, customer = frame[name].to_numpy()[weighted], frame["customer_id"].to_numpy()[weighted]
        rows = left[weighted], risk
        measured = bootstrapped(
            customer, weight[weighted], partial(_drawn, rows, campaign), seed=seed, draws=draws
        )
        if horizon_days(name) is not None:
            measured |= _c_index(frame, name, left, weight, seed=seed, draws=draws)
        metrics[name] = measured
    return metrics


def point_metrics(frame: pl.DataFrame, campaign: Campaign = PAPER_CAMPAIGN) -> dict[str, float]:
    """Returns the same figures without intervals, flat (`brier_30`, `auc_365`, …, or `brier`).

    Undefined ones, such as the calibration slope of a constant risk, are left out.
    """
    flat: dict[str, float] = {}
    for name in risk_columns(frame):
        left, weight = outcomes_by_horizon(frame, horizon_days(name))
        weighted = weight > 0
        if not weighted.any() or left[weighted].all() or not left[weighted].any():
            continue
        risk, weights = frame[name].to_numpy()[weighted], weight[weighted]
        clipped = np.clip(risk, 1e-7, 1 - 1e-7)
        metrics = {
            figure: float(value[0])
            for figure, value in figures(
                left[weighted], risk, weights[None], campaign=campaign
            ).items()
        }
        metrics["brier"] = float(np.average((risk - left[weighted]) ** 2, weights=weights))
        metrics["log_loss"] = float(
            -np.average(np.log(np.where(left[weighted], clipped, 1 - clipped)), weights=weights)
        )
        if horizon_days(name) is not None:
            agree, pairs = _pairs(frame, name, left, weight)
            metrics["c_index"] = float(agree.sum() / pairs.sum())
        flat |= {
            f"{figure}{name.removeprefix('risk')}": value
            for figure, value in metrics.items()
            if np.isfinite(value)
        }
    return flat


def attainable_skill(predictions: pl.DataFrame, truth: pl.DataFrame) -> dict[str, float]:
    """Returns the share of the Brier skill between base rate and true risk that predictions reach.

    1 is as good as knowing the true risks; it may be negative. Exact, without drawing outcomes: the
    expected Brier score of p is E[π(1−π)] + E[(p−π)²] for true risks π, so the share is 1 −
    E[(p−π)²] / Var(π). `truth` has customer_id, as_of and the same risk columns. Raises ValueError
    when no prediction is of a customer and date of the truth.
    """
    names = [name for name in risk_columns(predictions) if name in truth.columns]
    both = predictions.select("customer_id", "as_of", *names).join(
        truth.select("customer_id", "as_of", *names),
        on=["customer_id", "as_of"],
        how="inner",
        suffix="_true",
    )
    if both.is_empty():
        raise ValueError(
            "churn metrics: no prediction is about a customer and date of the truth. Compare equal "
            "as-of dates."
        )
    shares = {}
    for name in names:
        risk, true_risk = both[name].to_numpy(), both[f"{name}_true"].to_numpy()
        if np.ptp(true_risk) > 0:  # where all risks are equal there is no skill to reach
            shares[name] = float(1 - np.mean((risk - true_risk) ** 2) / np.var(true_risk))
    return shares


def _pairs(
    frame: pl.DataFrame, name: str, left: np.ndarray, weight: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Returns what each row adds to the concordant and to all pairs up to the horizon."""
    time = frame["time_days"].fill_null(0.0).to_numpy()
    followed = time > 0
    agree, pairs = np.zeros(frame.height), np.zeros(frame.height)
    agree[followed], pairs[followed] = concordant_pairs(
        time[followed],
        frame["event"].fill_null(False).to_numpy()[followed],
        frame[name].to_numpy()[followed],
        weight=(weight * left)[followed],
        stratum=frame["as_of"].rank("dense").to_numpy()[followed],
    )
    return agree, pairs


def _c_index(
    frame: pl.DataFrame, name: str, left: np.ndarray, weight: np.ndarray, *, seed: int, draws: int
) -> dict[str, Interval]:
    """Returns the C-index with its interval.

    Pairs of customers drawn m and n times count m · n times. Around m = n = 1 that is m + n − 1, so
    rows add up. A draw with too few pairs for that is left out.
    """
    agree, pairs = _pairs(frame, name, left, weight)
    whole = agree.sum() / 2, pairs.sum() / 2

    def c_index(times: np.ndarray) -> dict[str, np.ndarray]:
        won, drawn = times @ agree - whole[0], times @ pairs - whole[1]
        some = drawn > 0.1 * whole[1]
        return {
            "c_index": np.divide(won, drawn, out=np.full(len(won), np.nan), where=some).clip(0, 1)
        }

    return bootstrapped(
        frame["customer_id"].to_numpy(), np.ones(frame.height), c_index, seed=seed, draws=draws
    )


def _drawn(
    rows: tuple[np.ndarray, np.ndarray], campaign: Campaign, weights: np.ndarray
) -> dict[str, np.ndarray]:
    return figures(*rows, weights, campaign=campaign)


def bootstrapped(
    customer: np.ndarray,
    weight: np.ndarray,
    measure: Callable[[np.ndarray], dict[str, np.ndarray]],
    *,
    seed: int,
    draws: int,
) -> dict[str, Interval]:
    """Returns what `measure` makes of weights [draws, rows], with intervals by customer.

    `measure` returns float64 [draws] by name; the first call is with `weight` itself, one draw.
    """
    rows = len(weight)
    names, member = np.unique(customer.astype(str), return_inverse=True)
    values = {name: float(value[0]) for name, value in measure(weight[None]).items()}
    if len(names) < 2:
        return {name: Interval(value, None, None, rows, 1) for name, value in values.items()}
    rng = np.random.default_rng(seed)
    drawn: dict[str, list[np.ndarray]] = {name: [] for name in values}
    for count in in_batches(draws, rows):
        counts = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), count)
        for name, figures_drawn in measure(counts[:, member] * weight).items():
            drawn[name].append(figures_drawn)
    intervals = {}
    for name, value in values.items():
        finite = np.concatenate(drawn[name])
        finite = finite[np.isfinite(finite)]  # a draw without anybody who left ranks nobody
        ends = (
            np.quantile(finite, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]).tolist()
            if len(finite)
            else (None, None)
        )
        intervals[name] = Interval(value, ends[0], ends[1], rows, len(names))
    return intervals
