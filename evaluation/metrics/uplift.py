"""How many customers a way of choosing keeps, told from a log in which other people chose.

Each decision gets a score whose mean is the effect of the offer: by inverse propensity weights alone (Horvitz and
Thompson, 1952) or doubly robust (AIPW: Robins, Rotnitzky and Zhao, 1994), which varies less and is right if either the
propensities or the outcome models are. The value of a policy is the mean score of those it would treat (Dudík et al.,
2014). Effects count customers kept: positive is good. Intervals draw whole customers.
"""

from __future__ import annotations

import numpy as np

from evaluation.metrics.bootstrap import Interval, paired_difference, ratio_of_sums


def ipw_scores(offered: np.ndarray, propensity: np.ndarray, left: np.ndarray) -> np.ndarray:
    """float64 [rows]: the effect by inverse propensity weighting. `propensity` must lie within (0, 1)."""
    _refuse_certainty(propensity)
    return np.asarray(np.where(offered, -left / propensity, left / (1 - propensity)), dtype=np.float64)


def aipw_scores(
    offered: np.ndarray, propensity: np.ndarray, left: np.ndarray, untreated: np.ndarray, treated: np.ndarray
) -> np.ndarray:
    """float64 [rows]: the doubly robust effect. `untreated` and `treated` are risks predicted from others' outcomes."""
    _refuse_certainty(propensity)
    missed = np.where(offered, -(left - treated) / propensity, (left - untreated) / (1 - propensity))
    return np.asarray(untreated - treated + missed, dtype=np.float64)


def policy_value(
    chosen: np.ndarray, scores: np.ndarray, weight: np.ndarray, customer: np.ndarray, seed: int
) -> Interval:
    """Effect a customer of treating `chosen` (bool or share [rows]) and nobody else, with its interval."""
    return ratio_of_sums(chosen * scores * weight, weight, customer, seed)


def policy_gain(
    chosen: np.ndarray, other: np.ndarray, scores: np.ndarray, weight: np.ndarray, customer: np.ndarray, seed: int
) -> Interval:
    """Value of treating `chosen` minus that of treating `other`, paired."""
    first, second = (one * scores * weight for one in (chosen, other))
    return paired_difference((first, weight), (second, weight), customer, seed)


def auuc(ranking: np.ndarray, scores: np.ndarray, weight: np.ndarray, customer: np.ndarray, seed: int) -> Interval:
    """Area under the uplift curve: the mean value over all budgets from nobody to everybody, best `ranking` first.

    The ranks are taken as given, so the interval is about the effect and not about who else might have been ranked.
    """
    share = _share_before(ranking, weight)
    return ratio_of_sums((1 - share) * scores * weight, weight, customer, seed)


def qini(ranking: np.ndarray, scores: np.ndarray, weight: np.ndarray, customer: np.ndarray, seed: int) -> Interval:
    """Area between the uplift curve and that of a random order (Radcliffe, 2007; with scores: Yadlowsky et al., 2025).

    0 is as good as chance. Ranks as in `auuc`.
    """
    share = _share_before(ranking, weight)
    return ratio_of_sums((0.5 - share) * scores * weight, weight, customer, seed)


def _share_before(ranking: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """The share of all weight that is ranked higher, half of its own included; equal ranks share their middle."""
    _, place = np.unique(-ranking, return_inverse=True)
    mass = np.bincount(place, weight)
    return np.asarray(((np.cumsum(mass) - mass / 2) / mass.sum())[place])


def _refuse_certainty(propensity: np.ndarray) -> None:
    if not ((propensity > 0) & (propensity < 1)).all():
        raise ValueError("uplift: a propensity is 0 or 1, so there is nobody to compare with. Clip or leave them out.")
