"""Estimates the word error rate of calls that nobody transcribed, from word confidence.

A recogniser's calibrated confidence gives the expected number of wrong words among those it wrote
(substitutions and insertions). Deletions leave no word behind. They, and the share of insertions,
are taken as ratios to the wrong words, fitted on transcribed calls. The interval covers the errors
of these very calls: it holds the calibration's and the ratios' own uncertainty (influence functions
by cluster) and what single calls deviate. The method is confidence-based performance estimation
(Guerraggio 2024, M-CBPE) with words as units.

Where people transcribed a random share of the calls, their errors correct the estimate
(prediction-powered inference: Angelopoulos, Bates, Fannjiang, Jordan and Zrnic 2023; the weight of
the prediction is chosen as in PPI++, Angelopoulos, Duchi and Zrnic 2023).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import t

from models.asr.confidence import CalibrationError, fit_calibration

_LEVEL = 0.95
MIN_CALLS = 8  # transcribed calls; fewer give no interval worth its name


@dataclass(frozen=True)
class HeardCalls:
    """Recognised words of calls: scores with the call each is from, and each call's cluster."""

    scores: np.ndarray  # [words]
    call: np.ndarray  # number of the call, [words]
    cluster: np.ndarray  # voice or customer, [calls]


@dataclass(frozen=True)
class TranscribedCalls:
    """Calls that were recognised and that people transcribed."""

    heard: HeardCalls
    right: np.ndarray  # whether the word is right, [words]
    substitutions: np.ndarray  # [calls]
    insertions: np.ndarray  # [calls]
    deletions: np.ndarray  # [calls]
    words: np.ndarray  # that people wrote, [calls]

    @property
    def errors(self) -> np.ndarray:
        """Word errors, [calls]."""
        return np.asarray(self.substitutions + self.insertions + self.deletions)


@dataclass(frozen=True)
class WerEstimate:
    """A word error rate with its 95 % interval; `low` and `high` are None without one."""

    value: float
    low: float | None
    high: float | None
    calls: int
    transcribed: int  # calls it rests on that people transcribed
    source: str  # truth, confidence or joined


@dataclass(frozen=True)
class WerModel:
    """From word scores to errors: calibration and ratios, with what they are uncertain about."""

    coefficients: np.ndarray  # a, b, c of the calibration
    deletions: float  # a wrong word
    insertions: float  # share of the wrong words
    influence: np.ndarray  # of each cluster on (a, b, c, deletions, insertions), [clusters, 5]
    call_noise: float  # variance of a call's errors about its expectation, a squared word
    word_noise: float  # the same, a word
    calls: int


def design(scores: np.ndarray) -> np.ndarray:
    """Returns what the log-odds of a right word are linear in: ln s, −ln(1 − s), 1; [words, 3]."""
    inside = np.clip(np.asarray(scores, float), 1e-4, 1 - 1e-4)
    return np.stack([np.log(inside), -np.log1p(-inside), np.ones_like(inside)], axis=-1)


def fit_wer_model(calls: TranscribedCalls) -> WerModel:
    """Fits calibration and ratios on transcribed calls. Raises CalibrationError with too few."""
    heard = calls.heard
    if len(calls.words) < MIN_CALLS:
        raise CalibrationError(
            f"word errors without words: {len(calls.words)} transcribed calls are too few to fit "
            f"on (at least {MIN_CALLS}). Deliver more transcripts."
        )
    fitted = fit_calibration(heard.scores, calls.right, heard.call)
    weights = np.array([fitted.a, fitted.b, fitted.c])
    x = design(heard.scores)
    right = _sigmoid(x @ weights)
    wrong = np.bincount(heard.call, ~np.asarray(calls.right, bool), len(calls.words))
    total = max(float(wrong.sum()), 1e-9)
    deletions = float(calls.deletions.sum()) / total
    insertions = float(calls.insertions.sum()) / total
    free = np.array([fitted.a > 0, fitted.b > 0, True])
    curve = (x * (right * (1 - right))[:, None]).T @ x + np.eye(3)
    inverse = np.zeros((3, 3))
    inverse[np.ix_(free, free)] = np.linalg.inv(curve[np.ix_(free, free)])
    slope = x * (np.asarray(calls.right, float) - right)[:, None]
    by_call = np.stack(
        [
            *(np.bincount(heard.call, slope[:, n], len(calls.words)) for n in range(3)),
            (calls.deletions - deletions * wrong) / total,
            (calls.insertions - insertions * wrong) / total,
        ],
        axis=1,
    )
    by_call[:, :3] = by_call[:, :3] @ inverse
    names, member = np.unique(np.asarray(heard.cluster, str), return_inverse=True)
    influence = np.stack([np.bincount(member, by_call[:, n], len(names)) for n in range(5)], axis=1)
    model = WerModel(weights, deletions, insertions, influence, 0.0, 0.0, len(calls.words))
    errors, words = expected_errors(model, heard)
    rate = float(calls.errors.sum() / max(calls.words.sum(), 1))
    apart = (calls.errors - errors) - rate * (calls.words - words)
    sums = np.stack([np.bincount(member, apart), np.bincount(member, calls.words)], axis=1)
    freedom = _few(len(names))
    squares = float((sums[:, 0] ** 2).sum()) * freedom
    return WerModel(
        weights,
        deletions,
        insertions,
        influence,
        squares / max(float((sums[:, 1] ** 2).sum()), 1.0),
        squares / max(float(sums[:, 1].sum()), 1.0),
        len(calls.words),
    )


def expected_errors(model: WerModel, heard: HeardCalls) -> tuple[np.ndarray, np.ndarray]:
    """Returns expected (errors, words that were spoken) of each call, both [calls]."""
    calls = len(heard.cluster)
    wrong = np.bincount(heard.call, 1 - _sigmoid(design(heard.scores) @ model.coefficients), calls)
    written = np.bincount(heard.call, minlength=calls)
    return (1 + model.deletions) * wrong, written + (model.deletions - model.insertions) * wrong


def estimate_wer(model: WerModel, heard: HeardCalls) -> WerEstimate | None:
    """Returns the WER of calls from confidence alone; None where no word was recognised."""
    errors, words = expected_errors(model, heard)
    total = float(words.sum())
    if not total > 0:
        return None
    value = float(errors.sum()) / total
    gradient = _gradient(model, heard, value, total)
    clusters = len(model.influence)
    fit = float(((model.influence @ gradient) ** 2).sum()) * _few(clusters)
    lengths = np.bincount(np.unique(heard.cluster, return_inverse=True)[1], np.maximum(words, 0.0))
    noise = max(model.call_noise * float((lengths**2).sum()) / total**2, model.word_noise / total)
    radius = float(t.ppf((1 + _LEVEL) / 2, max(clusters - 1, 1))) * np.sqrt(fit + noise)
    low, high = max(0.0, value - radius), value + radius
    return WerEstimate(value, low, high, len(heard.cluster), model.calls, "confidence")


def _few(clusters: int) -> float:
    """Returns what squares of residuals are widened by: three coefficients were fitted to them."""
    return clusters / max(clusters - 3, 1)


def _gradient(model: WerModel, heard: HeardCalls, value: float, total: float) -> np.ndarray:
    """Returns the derivatives of the WER in a, b, c, the deletions and the insertions, [5]."""
    x = design(heard.scores)
    right = _sigmoid(x @ model.coefficients)
    wrong = float((1 - right).sum())
    by_wrong = ((1 + model.deletions) - value * (model.deletions - model.insertions)) / total
    slope = -(x * (right * (1 - right))[:, None]).sum(0)
    return np.array([*(by_wrong * slope), wrong * (1 - value) / total, wrong * value / total])


def transcribed_wer(calls: TranscribedCalls) -> WerEstimate | None:
    """Returns the WER of transcribed calls with the interval for all calls like them."""
    if not calls.words.sum() > 0:
        return None
    value = float(calls.errors.sum() / calls.words.sum())
    spread = _spread(calls.errors - value * calls.words, calls.heard.cluster)
    if spread is None or len(calls.words) < MIN_CALLS:
        return WerEstimate(value, None, None, len(calls.words), len(calls.words), "truth")
    error, freedom = spread
    radius = float(t.ppf((1 + _LEVEL) / 2, freedom)) * error / float(calls.words.sum())
    return WerEstimate(
        value, max(0.0, value - radius), value + radius, len(calls.words), len(calls.words), "truth"
    )


def joined_wer(
    model: WerModel, every: HeardCalls, chosen: np.ndarray, transcribed: TranscribedCalls
) -> WerEstimate | None:
    """Returns the WER of all calls, from confidence corrected by a random transcribed share.

    `chosen` are the numbers of the transcribed calls among `every`, in the order of `transcribed`.
    None with too few of them. All of them need no correction.
    """
    calls, count = len(every.cluster), len(chosen)
    if count < MIN_CALLS or not transcribed.words.sum() > 0:
        return None
    errors, words = expected_errors(model, every)
    if count == calls:  # nothing is guessed
        value = float(transcribed.errors.sum() / transcribed.words.sum())
        return WerEstimate(value, value, value, calls, count, "joined")
    columns = np.stack(
        [transcribed.errors, transcribed.words, errors[chosen], words[chosen]], axis=1
    ).astype(float)
    _, member = np.unique(np.asarray(transcribed.heard.cluster, str), return_inverse=True)
    clusters = int(member.max()) + 1
    if clusters < MIN_CALLS:
        return None
    whole = (float(errors.sum()), float(words.sum()), calls)
    value = _corrected(columns, whole)
    # Weight and ratio are chosen on the same few calls, so the spread is the jackknife's.
    without = np.array([_corrected(columns[member != k], whole) for k in range(clusters)])
    spread = float(((without - without.mean()) ** 2).sum()) * (clusters - 1) / clusters
    left = 1 - count / calls  # what is transcribed is known
    radius = float(t.ppf((1 + _LEVEL) / 2, clusters - 3)) * np.sqrt(spread * left)
    return WerEstimate(value, max(0.0, value - radius), value + radius, calls, count, "joined")


def _corrected(columns: np.ndarray, whole: tuple[float, float, int]) -> float:
    """Returns the prediction-powered ratio.

    `columns` are errors, words and what was expected of both, [transcribed calls, 4]; `whole` are
    the expected errors and words of all calls, and their number.
    """
    rate = columns[:, 0].sum() / max(columns[:, 1].sum(), 1.0)
    truth, guess = columns[:, :2] @ (1.0, -rate), columns[:, 2:] @ (1.0, -rate)
    spread = float(np.var(guess))
    covariance = float(((truth - truth.mean()) * (guess - guess.mean())).mean())
    weight = float(np.clip(covariance / spread, 0.0, 1.0)) if spread > 0 else 0.0
    scale = whole[2] / len(columns)
    apart = columns[:, :2] - weight * columns[:, 2:]
    top, bottom = (weight * whole[n] + scale * apart[:, n].sum() for n in (0, 1))
    return float(top / max(bottom, 1.0))


def _spread(apart: np.ndarray, cluster: np.ndarray) -> tuple[float, int] | None:
    """Returns (standard error of the sum by clusters, degrees of freedom); None with one cluster.

    The mean is taken out: a sum of a fixed number of calls, or clusters, does not vary by it.
    """
    names, member = np.unique(np.asarray(cluster, str), return_inverse=True)
    if len(names) < 2:
        return None
    size = np.bincount(member)
    sums = np.bincount(member, apart) - size * apart.mean()
    variance = float((sums**2).sum()) * len(names) / (len(names) - 1)
    return float(np.sqrt(variance)), len(names) - 1


def _sigmoid(odds: np.ndarray) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-odds)))


def calls_of(scores: Sequence[Sequence[float] | np.ndarray], clusters: Sequence[str]) -> HeardCalls:
    """Returns calls from the scores of their words, a sequence a call."""
    lengths = [len(part) for part in scores]
    flat = np.array([score for part in scores for score in part], float)
    return HeardCalls(flat, np.repeat(np.arange(len(lengths)), lengths), np.array(clusters, str))
