"""How good predicted risks are by each horizon, when some customers were not observed to its end.

Censoring is undone by inverse probability weights (IPCW: Graf et al., 1999; for AUC Uno et al., 2007): customers whose
state at the horizon is known stand for those whose is not. The weights come from a Kaplan–Meier curve of censoring,
one an as-of date, since later dates are observed for less long; an as-of date that nobody was observed to the end of a
horizon from says nothing about it and is left out. Intervals draw whole customers, who may have several as-of dates.

Predictions are frames with customer_id, as_of, event, time_days (as data.features makes them) and risk_<days>, or risk
where outcomes have no dates.
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

PAPER = Campaign()  # the retention campaign EMPC is usually quoted for
_LEAST_OBSERVED = (
    0.05  # an as-of date with less of its customers observed to the horizon would get huge weights
)


def risk_columns(frame: pl.DataFrame) -> list[str]:
    """risk_30, risk_90, … in order of days, or risk."""
    dated = sorted(
        (int(name[5:]), name)
        for name in frame.columns
        if name.startswith("risk_") and name[5:].isdigit()
    )
    return [name for _, name in dated] or [name for name in frame.columns if name == "risk"]


def horizon_days(name: str) -> int | None:
    """risk_90 → 90; risk (a target without dates) → None."""
    return int(name.removeprefix("risk_")) if name != "risk" else None


def known_by(frame: pl.DataFrame, horizon_days: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Whether each row's customer had left by the horizon (bool [rows]) and the row's weight, 0 where nobody knows.

    Without a horizon the target is `event` itself and weights are 1 where it is known.
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


def both_seen(frame: pl.DataFrame, horizon_days: int) -> bool:
    """Whether some had left and some had stayed by the horizon among the rows followed that far."""
    left, weight = known_by(frame, horizon_days)
    return bool(left[weight > 0].any() and not left[weight > 0].all())


def _weights(time: np.ndarray, event: np.ndarray, horizon_days: int) -> np.ndarray:
    if not len(time):
        return np.zeros(len(time))
    moments, place = np.unique(time, return_inverse=True)
    left = np.bincount(place, event, len(moments))
    lost = np.bincount(place, ~event, len(moments))
    at_risk = (
        np.cumsum((left + lost)[::-1])[::-1] - left
    )  # who leaves on a day is not censored on it
    steps = 1 - np.divide(lost, at_risk, out=np.zeros(len(moments)), where=at_risk > 0)
    before = np.concatenate(
        [[1.0], np.cumprod(steps)]
    )  # probability of being observed until just before each moment
    at_horizon = before[np.searchsorted(moments, horizon_days)]
    if at_horizon < _LEAST_OBSERVED:
        return np.zeros(len(time))
    by_then = event & (time <= horizon_days)
    return np.where(by_then, 1 / before[place], np.where(time >= horizon_days, 1 / at_horizon, 0.0))


def per_unit(frame: pl.DataFrame) -> pl.DataFrame:
    """Losses a row and horizon for paired comparison.

    Columns: customer_id, as_of, risk (the name of the horizon's column), weight, predicted, left (1 for who had left by
    then), brier, log_loss. A model's figure is sum(weight · loss) / sum(weight); rows of weight 0 are left out. Two
    models on the same rows have the same weights in the same order.
    """
    parts = []
    for name in risk_columns(frame):
        left, weight = known_by(frame, horizon_days(name))
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
    frame: pl.DataFrame, seed: int, draws: int = 300, campaign: Campaign = PAPER
) -> dict[str, dict[str, Interval]]:
    """For each risk column: brier, log_loss and what `churn_figures` measures, each with its interval.

    A horizon that no as-of date is followed up to, or at which all or none had left, is not in the answer.
    Raises ValueError when there is no risk column.
    """
    found = churn_figures(frame, seed, draws, campaign)
    losses = per_unit(frame)
    for name in found:
        part = losses.filter(pl.col("risk") == name)
        weight, customer = part["weight"].to_numpy(), part["customer_id"].to_numpy()
        found[name] |= {
            loss: ratio_of_sums(part[loss].to_numpy() * weight, weight, customer, seed)
            for loss in ("brier", "log_loss")
        }
    return found


def churn_figures(
    frame: pl.DataFrame, seed: int, draws: int = 300, campaign: Campaign = PAPER
) -> dict[str, dict[str, Interval]]:
    """For each risk column what is no mean of losses, with a customer-clustered bootstrap interval.

    auc, average_precision, lift_5, lift_10, lift_20, ece, calibration_intercept, calibration_slope, expected_rate,
    observed_rate, empc (expected maximum profit a customer of `campaign`), empc_contacted (the share of customers it
    contacts) and, with dates, c_index (Uno's, of pairs up to the horizon).
    """
    names = risk_columns(frame)
    if not names:
        raise ValueError(
            "churn metrics: no column risk or risk_<days>. Join the predictions to their outcomes first."
        )
    found: dict[str, dict[str, Interval]] = {}
    for name in names:
        left, weight = known_by(frame, horizon_days(name))
        known = weight > 0
        if not known.any() or left[known].all() or not left[known].any():
            continue
        risk, customer = frame[name].to_numpy()[known], frame["customer_id"].to_numpy()[known]
        rows = left[known], risk
        measured = bootstrapped(
            customer, weight[known], partial(_drawn, rows, campaign), seed, draws
        )
        if horizon_days(name) is not None:
            measured |= _c_index(frame, name, left, weight, seed, draws)
        found[name] = measured
    return found


def point_metrics(frame: pl.DataFrame, campaign: Campaign = PAPER) -> dict[str, float]:
    """The same figures without intervals, flat (`brier_30`, `auc_365`, … or `brier`), to log while training.

    What cannot be said, such as the calibration slope of a constant risk, is left out.
    """
    flat: dict[str, float] = {}
    for name in risk_columns(frame):
        left, weight = known_by(frame, horizon_days(name))
        known = weight > 0
        if not known.any() or left[known].all() or not left[known].any():
            continue
        risk, weights = frame[name].to_numpy()[known], weight[known]
        clipped = np.clip(risk, 1e-7, 1 - 1e-7)
        found = {
            figure: float(value[0])
            for figure, value in figures(left[known], risk, weights[None], campaign).items()
        }
        found["brier"] = float(np.average((risk - left[known]) ** 2, weights=weights))
        found["log_loss"] = float(
            -np.average(np.log(np.where(left[known], clipped, 1 - clipped)), weights=weights)
        )
        if horizon_days(name) is not None:
            agree, pairs = _pairs(frame, name, left, weight)
            found["c_index"] = float(agree.sum() / pairs.sum())
        flat |= {
            f"{figure}{name.removeprefix('risk')}": value
            for figure, value in found.items()
            if np.isfinite(value)
        }
    return flat


def attainable_skill(predictions: pl.DataFrame, truth: pl.DataFrame) -> dict[str, float]:
    """Share of the Brier skill between base rate and true risk that predictions reach: 1 is as good as knowing.

    Exact, without drawing outcomes: the expected Brier score of p is E[π(1−π)] + E[(p−π)²] for true risks π, so the
    share is 1 − E[(p−π)²] / Var(π). `truth` has customer_id, as_of and the same risk columns. It may be negative.
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
            "churn metrics: no prediction is about a customer and date of the truth. Compare equal as-of dates."
        )
    shares = {}
    for name in names:
        risk, true = both[name].to_numpy(), both[f"{name}_true"].to_numpy()
        if np.ptp(true) > 0:  # where all risks are equal there is no skill to reach
            shares[name] = float(1 - np.mean((risk - true) ** 2) / np.var(true))
    return shares


def _days(name: str) -> int | None:
    return int(name[5:]) if name != "risk" else None


def _pairs(
    frame: pl.DataFrame, name: str, left: np.ndarray, weight: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """What each row adds to the concordant and to all pairs up to the horizon."""
    time = frame["time_days"].fill_null(0.0).to_numpy()
    followed = time > 0
    agree, pairs = np.zeros(frame.height), np.zeros(frame.height)
    agree[followed], pairs[followed] = concordant_pairs(
        time[followed],
        frame["event"].fill_null(False).to_numpy()[followed],
        frame[name].to_numpy()[followed],
        (weight * left)[followed],
        frame["as_of"].rank("dense").to_numpy()[followed],
    )
    return agree, pairs


def _c_index(
    frame: pl.DataFrame, name: str, left: np.ndarray, weight: np.ndarray, seed: int, draws: int
) -> dict[str, Interval]:
    """Pairs of customers drawn m and n times count m · n times; around m = n = 1 that is m + n − 1, and rows add up.

    A draw with too few pairs for that says nothing.
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
        frame["customer_id"].to_numpy(), np.ones(frame.height), c_index, seed, draws
    )


def _drawn(
    rows: tuple[np.ndarray, np.ndarray], campaign: Campaign, weights: np.ndarray
) -> dict[str, np.ndarray]:
    return figures(*rows, weights, campaign)


def bootstrapped(
    customer: np.ndarray,
    weight: np.ndarray,
    measure: Callable[[np.ndarray], dict[str, np.ndarray]],
    seed: int,
    draws: int,
) -> dict[str, Interval]:
    """What `measure` makes of weights [draws, rows] of the rows, with intervals from draws of whole customers."""
    rows = len(weight)
    names, member = np.unique(customer.astype(str), return_inverse=True)
    values = {name: float(value[0]) for name, value in measure(weight[None]).items()}
    if len(names) < 2:
        return {name: Interval(value, None, None, rows, 1) for name, value in values.items()}
    rng = np.random.default_rng(seed)
    drawn: dict[str, list[np.ndarray]] = {name: [] for name in values}
    for some in in_batches(draws, rows):
        counts = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), some)
        for name, found in measure(counts[:, member] * weight).items():
            drawn[name].append(found)
    intervals = {}
    for name, value in values.items():
        found = np.concatenate(drawn[name])
        found = found[np.isfinite(found)]  # a draw without anybody who left ranks nobody
        ends = (
            np.quantile(found, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]).tolist()
            if len(found)
            else (None, None)
        )
        intervals[name] = Interval(value, ends[0], ends[1], rows, len(names))
    return intervals
