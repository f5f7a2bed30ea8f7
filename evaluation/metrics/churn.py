"""How good predicted risks are by each horizon, when some customers were not observed to its end.

Censoring is undone by inverse probability weights (IPCW: Graf et al., 1999; for AUC Uno et al., 2007): customers whose
state at the horizon is known stand for those whose is not. The weights come from a Kaplan–Meier curve of censoring,
one an as-of date, since later dates are observed for less long; an as-of date that nobody was observed to the end of a
horizon from says nothing about it and is left out. Intervals draw whole customers, who may have several as-of dates.

Predictions are frames with customer_id, as_of, event, time_days (as data.features makes them) and risk_<days>, or risk
where outcomes have no dates.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from evaluation.metrics.bootstrap import LEVEL, Interval, ratio_of_sums

LIFT_SHARES = (0.05, 0.10, 0.20)
_LEAST_OBSERVED = 0.05  # an as-of date with less of its customers observed to the horizon would get huge weights
_ECE_BINS = 10


def risk_columns(frame: pl.DataFrame) -> list[str]:
    """risk_30, risk_90, … in order of days, or risk."""
    dated = sorted((int(name[5:]), name) for name in frame.columns if name.startswith("risk_") and name[5:].isdigit())
    return [name for _, name in dated] or [name for name in frame.columns if name == "risk"]


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


def _weights(time: np.ndarray, event: np.ndarray, horizon_days: int) -> np.ndarray:
    if not len(time):
        return np.zeros(len(time))
    moments, place = np.unique(time, return_inverse=True)
    left = np.bincount(place, event, len(moments))
    lost = np.bincount(place, ~event, len(moments))
    at_risk = np.cumsum((left + lost)[::-1])[::-1] - left  # who leaves on a day is not censored on it
    steps = 1 - np.divide(lost, at_risk, out=np.zeros(len(moments)), where=at_risk > 0)
    before = np.concatenate([[1.0], np.cumprod(steps)])  # probability of being observed until just before each moment
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
        left, weight = known_by(frame, _days(name))
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


def churn_metrics(frame: pl.DataFrame, seed: int, draws: int = 300) -> dict[str, dict[str, Interval]]:
    """For each risk column: brier, log_loss, auc, average_precision, calibration_intercept, calibration_slope, ece,
    lift_5, lift_10, lift_20 and observed_rate, each with a customer-clustered bootstrap interval.

    A horizon that no as-of date is followed up to, or at which all or none had left, is not in the answer.
    Raises ValueError when there is no risk column.
    """
    names = risk_columns(frame)
    if not names:
        raise ValueError("churn metrics: no column risk or risk_<days>. Join the predictions to their outcomes first.")
    losses = per_unit(frame)
    found: dict[str, dict[str, Interval]] = {}
    for name in names:
        left, weight = known_by(frame, _days(name))
        known = weight > 0
        if not known.any() or left[known].all() or not left[known].any():
            continue
        risk, customer = frame[name].to_numpy()[known], frame["customer_id"].to_numpy()[known]
        part = losses.filter(pl.col("risk") == name)
        measured = {
            loss: ratio_of_sums(part[loss].to_numpy() * weight[known], weight[known], customer, seed)
            for loss in ("brier", "log_loss")
        }
        measured["observed_rate"] = ratio_of_sums(left[known] * weight[known], weight[known], customer, seed)
        measured |= _drawn(left[known], risk, weight[known], customer, seed, draws)
        found[name] = measured
    return found


def point_metrics(frame: pl.DataFrame) -> dict[str, float]:
    """The same figures without intervals, flat (`brier_30`, `auc_365`, … or `brier`), to log while training."""
    flat: dict[str, float] = {}
    for name in risk_columns(frame):
        left, weight = known_by(frame, _days(name))
        known = weight > 0
        if not known.any() or left[known].all() or not left[known].any():
            continue
        risk, weights = frame[name].to_numpy()[known], weight[known]
        clipped = np.clip(risk, 1e-7, 1 - 1e-7)
        figures = {name: float(value[0]) for name, value in _figures(left[known], risk, weights[None]).items()}
        figures["brier"] = float(np.average((risk - left[known]) ** 2, weights=weights))
        figures["log_loss"] = float(-np.average(np.log(np.where(left[known], clipped, 1 - clipped)), weights=weights))
        flat |= {f"{figure}{name.removeprefix('risk')}": value for figure, value in figures.items()}
    return flat


def attainable_skill(predictions: pl.DataFrame, truth: pl.DataFrame) -> dict[str, float]:
    """Share of the Brier skill between base rate and true risk that predictions reach: 1 is as good as knowing.

    Exact, without drawing outcomes: the expected Brier score of p is E[π(1−π)] + E[(p−π)²] for true risks π, so the
    share is 1 − E[(p−π)²] / Var(π). `truth` has customer_id, as_of and the same risk columns. It may be negative.
    """
    names = [name for name in risk_columns(predictions) if name in truth.columns]
    both = predictions.select("customer_id", "as_of", *names).join(
        truth.select("customer_id", "as_of", *names), on=["customer_id", "as_of"], how="inner", suffix="_true"
    )
    if both.is_empty():
        raise ValueError(
            "churn metrics: no prediction is about a customer and date of the truth. Compare equal as-of dates."
        )
    shares = {}
    for name in names:
        risk, true = both[name].to_numpy(), both[f"{name}_true"].to_numpy()
        shares[name] = float(1 - np.mean((risk - true) ** 2) / np.var(true))
    return shares


def _days(name: str) -> int | None:
    return int(name[5:]) if name != "risk" else None


def _drawn(
    left: np.ndarray, risk: np.ndarray, weight: np.ndarray, customer: np.ndarray, seed: int, draws: int
) -> dict[str, Interval]:
    names, member = np.unique(customer.astype(str), return_inverse=True)
    values = {name: float(value[0]) for name, value in _figures(left, risk, weight[None]).items()}
    if len(names) < 2:
        return {name: Interval(value, None, None, len(left), 1) for name, value in values.items()}
    rng = np.random.default_rng(seed)
    drawn: dict[str, list[np.ndarray]] = {name: [] for name in values}
    step = max(1, 2_000_000 // len(left))  # bounds the memory
    for begin in range(0, draws, step):
        counts = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), min(step, draws - begin))
        for name, figures in _figures(left, risk, counts[:, member] * weight).items():
            drawn[name].append(figures)
    found = {}
    for name, value in values.items():
        figures = np.concatenate(drawn[name])
        figures = figures[np.isfinite(figures)]  # a draw without anybody who left ranks nobody
        ends = np.quantile(figures, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]).tolist() if len(figures) else (None, None)
        found[name] = Interval(value, ends[0], ends[1], len(left), len(names))
    return found


def _figures(left: np.ndarray, risk: np.ndarray, weights: np.ndarray) -> dict[str, np.ndarray]:
    """Ranking and calibration figures for each row of `weights` [draws, rows]."""
    order = np.argsort(-risk, kind="stable")
    starts = np.flatnonzero(np.diff(risk[order], prepend=np.inf))  # equal risks are one threshold
    w = weights[:, order]
    caught = np.cumsum(np.add.reduceat(w * left[order], starts, axis=1), axis=1)
    taken = np.cumsum(np.add.reduceat(w, starts, axis=1), axis=1)
    missed = taken - caught
    leavers, stayers, everyone = caught[:, -1], missed[:, -1], taken[:, -1]
    with np.errstate(divide="ignore", invalid="ignore"):
        area = (
            np.diff(missed, axis=1, prepend=0) * (caught + np.concatenate([caught[:, :1] * 0, caught[:, :-1]], 1)) / 2
        )
        precision = np.where(taken > 0, caught / taken, 0)
        found = {
            "auc": area.sum(1) / (leavers * stayers),
            "average_precision": (np.diff(caught, axis=1, prepend=0) * precision).sum(1) / leavers,
            "ece": _ece(left, risk, weights),
        }
        for share in LIFT_SHARES:
            reached = [
                np.interp(share * n, np.concatenate([[0], t]), np.concatenate([[0], c]))
                for t, c, n in zip(taken, caught, everyone, strict=True)
            ]
            found[f"lift_{round(share * 100)}"] = np.array(reached) / (share * leavers)
    intercept, slope = _recalibration(left, risk, weights)
    return found | {"calibration_intercept": intercept, "calibration_slope": slope}


def _ece(left: np.ndarray, risk: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Expected calibration error over bins of equal size."""
    edges = np.unique(np.quantile(risk, np.linspace(0, 1, _ECE_BINS + 1)[1:-1]))
    bins = np.searchsorted(edges, risk, side="right")
    gaps = sum(np.abs((weights[:, bins == b] * (left - risk)[bins == b]).sum(1)) for b in range(len(edges) + 1))
    return np.asarray(gaps) / weights.sum(1)


def _recalibration(left: np.ndarray, risk: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Intercept at slope 1 and slope of a logistic regression of the outcome on logit(risk): 0 and 1 at best (Cox)."""
    clipped = np.clip(risk, 1e-7, 1 - 1e-7)
    logit = np.log(clipped / (1 - clipped))
    intercept = np.zeros(len(weights))
    for _ in range(12):
        fitted = 1 / (1 + np.exp(-np.clip(logit + intercept[:, None], -30, 30)))
        gradient, curve = (weights * (left - fitted)).sum(1), (weights * fitted * (1 - fitted)).sum(1)
        intercept = np.clip(intercept + gradient / np.maximum(curve, 1e-9), -10, 10)
    centre, spread = np.average(logit), np.std(logit) or 1.0
    x = (logit - centre) / spread
    # From slope 0: where risks are very overconfident, slope 1 fits so badly that no step finds the way from there.
    rate = np.clip((weights * left).sum(1) / np.maximum(weights.sum(1), 1e-9), 1e-6, 1 - 1e-6)
    a, b = np.log(rate / (1 - rate)), np.zeros(len(weights))
    for _ in range(25):
        fitted = 1 / (1 + np.exp(-np.clip(a[:, None] + b[:, None] * x, -30, 30)))
        variance, residual = weights * fitted * (1 - fitted), weights * (left - fitted)
        g0, g1 = residual.sum(1), (residual * x).sum(1)
        h00, h01, h11 = variance.sum(1), (variance * x).sum(1), (variance * x * x).sum(1)
        determinant = np.maximum(h00 * h11 - h01**2, 1e-12)
        a = a + np.clip((h11 * g0 - h01 * g1) / determinant, -2, 2)
        b = b + np.clip((h00 * g1 - h01 * g0) / determinant, -2, 2)
    # Constant risks have no slope.
    return intercept, b / spread if np.ptp(logit) > 1e-9 else np.full(len(weights), np.nan)
