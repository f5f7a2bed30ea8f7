"""Ranking, calibration and profit figures of risks, for many draws of weights at once."""

from __future__ import annotations

import numpy as np

from evaluation.metrics.churn_profit import Campaign, expected_maximum_profit

LIFT_SHARES = (0.05, 0.10, 0.20)
_ECE_BINS, _LEAST_IN_BIN = 10, 30


def figures(
    left: np.ndarray, risk: np.ndarray, weights: np.ndarray, *, campaign: Campaign
) -> dict[str, np.ndarray]:
    """Returns the ranking, profit and calibration figures of risks, for each draw of weights.

    They are auc, average_precision, lift_5, lift_10, lift_20, empc, empc_contacted and those of
    `calibration`. `left` (bool) and `risk` are [rows], `weights` [draws, rows]; each figure is
    float64 [draws], NaN where a draw has nobody who left or nobody who stayed.
    """
    order = np.argsort(-risk, kind="stable")
    starts = np.flatnonzero(np.diff(risk[order], prepend=np.inf))  # equal risks are one threshold
    w = weights[:, order]
    caught = np.cumsum(np.add.reduceat(w * left[order], starts, axis=1), axis=1)
    taken = np.cumsum(np.add.reduceat(w, starts, axis=1), axis=1)
    missed = taken - caught
    leavers, stayers, everyone = caught[:, -1], missed[:, -1], taken[:, -1]
    with np.errstate(divide="ignore", invalid="ignore"):
        area = (
            np.diff(missed, axis=1, prepend=0)
            * (caught + np.concatenate([caught[:, :1] * 0, caught[:, :-1]], 1))
            / 2
        )
        precision = np.where(taken > 0, caught / taken, 0)
        metrics = {
            "auc": area.sum(1) / (leavers * stayers),
            "average_precision": (np.diff(caught, axis=1, prepend=0) * precision).sum(1) / leavers,
        }
        for share in LIFT_SHARES:
            reached = [
                np.interp(share * n, np.concatenate([[0], t]), np.concatenate([[0], c]))
                for t, c, n in zip(taken, caught, everyone, strict=True)
            ]
            metrics[f"lift_{round(share * 100)}"] = np.array(reached) / (share * leavers)
    metrics["empc"], metrics["empc_contacted"] = expected_maximum_profit(
        left, risk, weights, campaign=campaign
    )
    return metrics | calibration(left, risk, weights)


def calibration(left: np.ndarray, risk: np.ndarray, weights: np.ndarray) -> dict[str, np.ndarray]:
    """Returns the calibration figures of risks, for each draw of weights (shapes as in `figures`).

    calibration_intercept and calibration_slope (Cox: 0 and 1 at best), calibration_ratio (left over
    expected to leave: 1 at best), ece, expected_rate (the mean risk) and observed_rate (the share
    that left).
    """
    intercept, slope = _recalibration(left, risk, weights)
    total = weights.sum(1)
    expected = weights @ risk
    return {
        "calibration_ratio": np.divide(
            weights @ left.astype(np.float64),
            expected,
            out=np.full(len(weights), np.nan),
            where=expected > 0,
        ),
        "ece": _ece(left, risk, weights),
        "calibration_intercept": intercept,
        "calibration_slope": slope,
        "expected_rate": expected / total,
        "observed_rate": weights @ left.astype(np.float64) / total,
    }


def _ece(left: np.ndarray, risk: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Returns the expected calibration error over bins of equal size.

    There are fewer bins where each would hold a handful of rows.
    """
    bins = max(2, min(_ECE_BINS, len(risk) // _LEAST_IN_BIN))
    edges = np.unique(np.quantile(risk, np.linspace(0, 1, bins + 1)[1:-1]))
    place = np.searchsorted(edges, risk, side="right")
    gaps = sum(
        np.abs((weights[:, place == b] * (left - risk)[place == b]).sum(1))
        for b in range(len(edges) + 1)
    )
    return np.asarray(gaps / weights.sum(1))


def _recalibration(
    left: np.ndarray, risk: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the intercept at slope 1, and the slope, of a logistic regression on logit(risk)."""
    clipped = np.clip(risk, 1e-7, 1 - 1e-7)
    logit = np.log(clipped / (1 - clipped))
    mean = weights.mean(0, keepdims=True)
    # All draws begin where their mean ends, so that a few steps of Newton's method are enough for
    # each.
    intercept = _level(
        left, logit, weights, start=_level(left, logit, mean, start=np.zeros(1), steps=12), steps=4
    )
    if np.ptp(logit) <= 1e-9:  # constant risks have no slope
        return intercept, np.full(len(weights), np.nan)
    centre, spread = np.average(logit), np.std(logit)
    x = (logit - centre) / spread
    # From slope 0: where risks are very overconfident, slope 1 fits so badly that no step finds the
    # way from there.
    rate = np.clip((mean * left).sum(1) / np.maximum(mean.sum(1), 1e-9), 1e-6, 1 - 1e-6)
    start = _line(left, x, mean, intercept=np.log(rate / (1 - rate)), slope=np.zeros(1), steps=25)
    return intercept, _line(left, x, weights, intercept=start[0], slope=start[1], steps=8)[
        1
    ] / spread


def _level(
    left: np.ndarray, logit: np.ndarray, weights: np.ndarray, *, start: np.ndarray, steps: int
) -> np.ndarray:
    """Returns what to add to `logit` so that as many leave as expected, float64 [draws]."""
    level = np.broadcast_to(start, len(weights)).copy()
    for _ in range(steps):
        fitted = 1 / (1 + np.exp(-np.clip(logit + level[:, None], -30, 30)))
        gradient, curve = (
            (weights * (left - fitted)).sum(1),
            (weights * fitted * (1 - fitted)).sum(1),
        )
        level = np.clip(level + gradient / np.maximum(curve, 1e-9), -10, 10)
    return level


def _line(
    left: np.ndarray,
    x: np.ndarray,
    weights: np.ndarray,
    *,
    intercept: np.ndarray,
    slope: np.ndarray,
    steps: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Returns intercept and slope of a weighted logistic regression on `x`, each [draws].

    By Newton's method, from the given start.
    """
    a, b = (np.broadcast_to(start, len(weights)).copy() for start in (intercept, slope))
    for _ in range(steps):
        fitted = 1 / (1 + np.exp(-np.clip(a[:, None] + b[:, None] * x, -30, 30)))
        variance, residual = weights * fitted * (1 - fitted), weights * (left - fitted)
        g0, g1 = residual.sum(1), residual @ x
        h00, h01, h11 = variance.sum(1), variance @ x, variance @ (x * x)
        determinant = np.maximum(h00 * h11 - h01**2, 1e-12)
        a = a + np.clip((h11 * g0 - h01 * g1) / determinant, -2, 2)
        b = b + np.clip((h00 * g1 - h01 * g0) / determinant, -2, 2)
    return a, b
