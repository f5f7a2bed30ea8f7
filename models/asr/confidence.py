"""Confidence calibration: from a recogniser's score of a word to the chance that it is right.

It is beta calibration (Kull, Silva Filho and Flach 2017), fitted on held-out calls.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from data.files import write_json

FILE = "confidence.json"  # its name in the folder of the weights
LEAST_WORDS = 100  # of which some are right and some wrong; fewer say nothing
_EDGE = 1e-4  # scores are clipped to this distance from 0 and 1
# Strength of the prior that scores are right as they are, worth one word, so that a handful of
# words cannot bend the curve.
_PRIOR = 1.0


class CalibrationError(ValueError):
    """Words are too few or too alike to calibrate on, or a file does not hold a calibration."""


@dataclass(frozen=True)
class Calibration:
    """A fitted curve: log-odds of right = a·ln(s) − b·ln(1 − s) + c for a score s; a, b ≥ 0."""

    a: float
    b: float
    c: float
    words: int  # number of words it was fitted on
    ece_before: float  # expected calibration error of the raw scores, on the same words
    ece_after: float  # the same, each word predicted by a fit on the other half of the calls

    def __call__(self, scores: np.ndarray) -> np.ndarray:
        """Returns probabilities of being right, shape of `scores`; they rise with the score."""
        log_odds = _design(np.asarray(scores, float)) @ np.array([self.a, self.b, self.c])
        return np.asarray(1 / (1 + np.exp(-log_odds)))


def fit_calibration(scores: np.ndarray, right: np.ndarray, calls: np.ndarray) -> Calibration:
    """Fits on words: their scores, whether each was right, and the call it is from (all [words]).

    Raises CalibrationError below `LEAST_WORDS` words, or when all are right, or all wrong, in
    either half of the calls.
    """
    scores, right = np.asarray(scores, float), np.asarray(right, bool)
    _, number = np.unique(calls, return_inverse=True)
    halves = number % 2 == 0
    if len(scores) < LEAST_WORDS or any(
        len(np.unique(right[half])) < 2 for half in (halves, ~halves)
    ):
        raise CalibrationError(
            f"confidence: {len(scores)} held-out words, {int(right.sum())} of them right, are too "
            f"few to calibrate on (at least {LEAST_WORDS}, right and wrong ones in two calls or "
            "more). Deliver more transcripts."
        )
    predicted = np.empty(len(scores))
    for half in (halves, ~halves):
        a, b, c = _fit(scores[half], right[half])
        predicted[~half] = Calibration(a, b, c, 0, 0.0, 0.0)(scores[~half])
    a, b, c = _fit(scores, right)
    return Calibration(
        round(a, 6),
        round(b, 6),
        round(c, 6),
        len(scores),
        round(expected_calibration_error(scores, right), 4),
        round(expected_calibration_error(predicted, right), 4),
    )


def expected_calibration_error(probability: np.ndarray, right: np.ndarray, bins: int = 10) -> float:
    """Returns the mean gap between predicted and observed share of right words (adaptive ECE).

    The mean is over `bins` of equally many words; both arguments are [words]. Raises
    CalibrationError without a word.
    """
    if not len(probability):
        raise CalibrationError(
            "confidence: no word was recognised, so there is nothing to measure."
        )
    order = np.argsort(probability, kind="stable")
    parts = np.array_split(order, min(bins, len(order)))
    return float(
        sum(abs(right[part].mean() - probability[part].mean()) * len(part) for part in parts)
        / len(order)
    )


def save_calibration(path: Path, calibration: Calibration) -> None:
    """Writes the calibration as JSON."""
    write_json(path, asdict(calibration))


def load_calibration(weights: Path) -> Calibration | None:
    """Returns the calibration in the folder of a `.nemo`, or None where there is none.

    Raises CalibrationError when the file is damaged.
    """
    path = weights.parent / FILE
    if not path.is_file():
        return None
    try:
        return Calibration(**json.loads(path.read_text(encoding="utf-8")))
    except (TypeError, ValueError) as error:
        raise CalibrationError(
            f"{path}: not a calibration ({error}). Train again, or delete it."
        ) from error


def _design(scores: np.ndarray) -> np.ndarray:
    inside = np.clip(scores, _EDGE, 1 - _EDGE)
    return np.stack([np.log(inside), -np.log1p(-inside), np.ones_like(inside)], axis=-1)


def _fit(scores: np.ndarray, right: np.ndarray) -> tuple[float, float, float]:
    """Returns a, b and c. A negative slope is set to 0 and the rest fitted again, to keep order."""
    design, free = _design(scores), np.array([True, True, True])
    while True:
        weights = np.zeros(3)
        weights[free] = _newton(design[:, free], right, np.array([1.0, 1.0, 0.0])[free])
        if weights[:2].min() >= 0:
            return float(weights[0]), float(weights[1]), float(weights[2])
        free[int(weights[:2].argmin())] = False


def _newton(design: np.ndarray, right: np.ndarray, start: np.ndarray) -> np.ndarray:
    """Fits a logistic regression with a normal prior at `start`, halving steps until they help."""

    def loss(weights: np.ndarray) -> float:
        odds = design @ weights
        return float(
            np.sum(np.logaddexp(0, odds) - right * odds)
            + _PRIOR / 2 * np.sum((weights - start) ** 2)
        )

    weights = start
    for _ in range(100):
        probability = 1 / (1 + np.exp(-design @ weights))
        slope = design.T @ (right - probability) - _PRIOR * (weights - start)
        curve = (design * (probability * (1 - probability))[:, None]).T @ design + _PRIOR * np.eye(
            len(start)
        )
        step = np.linalg.solve(curve, slope)
        while loss(weights + step) > loss(weights) and np.abs(step).max() > 1e-9:
            step = step / 2
        weights = weights + step
        if np.abs(step).max() < 1e-8:
            break
    return weights
