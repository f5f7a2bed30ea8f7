"""Estimates the effect of an offer, and the value of treatment policies, from logged decisions.

Each decision gets a score whose mean is the effect of the offer: by inverse propensity weights
alone (Horvitz and Thompson, 1952) or doubly robust (AIPW: Robins, Rotnitzky and Zhao, 1994), which
varies less and is right if either the propensities or the outcome models are. The value of a policy
is the mean over all customers of the score where it treats and of 0 where it does not (Dudík et
al., 2014). Effects count customers kept: positive is good.
"""

from __future__ import annotations

import numpy as np


def ipw_scores(offered: np.ndarray, propensity: np.ndarray, left: np.ndarray) -> np.ndarray:
    """Returns the effect by inverse propensity weighting, float64 [rows].

    Raises ValueError for a `propensity` that is not within (0, 1).
    """
    _refuse_certainty(propensity)
    return np.asarray(
        np.where(offered, -left / propensity, left / (1 - propensity)), dtype=np.float64
    )


def aipw_scores(
    offered: np.ndarray,
    propensity: np.ndarray,
    left: np.ndarray,
    *,
    untreated: np.ndarray,
    treated: np.ndarray,
) -> np.ndarray:
    """Returns the doubly robust effect, float64 [rows].

    `untreated` and `treated` are risks predicted from other customers' outcomes. Raises ValueError
    for a `propensity` that is not within (0, 1).
    """
    _refuse_certainty(propensity)
    missed = np.where(
        offered, -(left - treated) / propensity, (left - untreated) / (1 - propensity)
    )
    return np.asarray(untreated - treated + missed, dtype=np.float64)


def auuc_parts(ranking: np.ndarray, scores: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Returns float64 [rows] whose mean is the area under the uplift curve, best `ranking` first.

    That is the mean value over all budgets from nobody to everybody. The ranks are taken as given,
    so an interval is about the effect and not about who else might have been ranked.
    """
    return np.asarray((1 - _share_before(ranking, weight)) * scores)


def qini_parts(ranking: np.ndarray, scores: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Returns float64 [rows] whose mean is the area between the uplift curve and a random order's.

    0 is chance. Radcliffe (2007); with doubly robust scores Yadlowsky et al. (2025). Ranks are
    taken as given, as in `auuc_parts`.
    """
    return np.asarray((0.5 - _share_before(ranking, weight)) * scores)


def _share_before(ranking: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Returns the share of all weight that is ranked higher, half of the row's own included.

    Equal ranks share their middle.
    """
    _, place = np.unique(-ranking, return_inverse=True)
    mass = np.bincount(place, weight)
    return np.asarray(((np.cumsum(mass) - mass / 2) / mass.sum())[place])


def _refuse_certainty(propensity: np.ndarray) -> None:
    """Raises ValueError for a propensity of 0 or 1."""
    if not ((propensity > 0) & (propensity < 1)).all():
        raise ValueError(
            "uplift: a propensity is 0 or 1, so there is nobody to compare with. Clip or leave "
            "them out."
        )
