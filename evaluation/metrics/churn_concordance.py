"""Uno's C-index: of two customers, how often the one with the higher risk leaves first."""

from __future__ import annotations

import numpy as np


def concordant_pairs(
    time: np.ndarray,
    event: np.ndarray,
    risk: np.ndarray,
    *,
    weight: np.ndarray,
    stratum: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Returns what each row adds to the concordant and to all comparable pairs.

    Both are float64 [rows]; C is the sum of the first over the sum of the second. Uno, Cai,
    Pencina, D'Agostino and Wei (2011): a customer who left is compared with every one who was still
    there after that day, weighted by the inverse squared probability of having been observed.
    `weight` is that inverse probability for who left by the horizon and 0 for all others, so pairs
    end at the horizon; with 1 for everybody who left it is Harrell's C. Rows are paired within
    their `stratum` only (an as-of date: other dates have other censoring). Equal risks count half.
    Each pair is counted with both its rows, so the sums are twice those of the pairs.

    Pairs are counted in O(n log² n): bit by bit of the order in time, rows that first differ in
    that bit are paired by binary search in the order of risks.
    """
    first = np.where(event, weight, 0.0) ** 2  # what a pair counts in which this row left first
    # Ranks of moments within their stratum. Observed to the end of the day somebody else left on is
    # still there then.
    moment = np.unique(np.stack([stratum, time, ~event]), axis=1, return_inverse=True)[1].ravel()
    apart = np.unique(stratum, return_inverse=True)[1]
    ranks, rank = np.unique(risk, return_inverse=True)
    span = len(ranks) + 1
    agree, pairs = np.zeros(len(time)), np.zeros(len(time))
    for bit in range(int(moment.max(initial=0)).bit_length()):
        later = (moment >> bit) & 1 == 1
        same = (moment >> (bit + 1)) * (int(apart.max()) + 1) + apart
        earlier = np.flatnonzero(~later & (first > 0))
        later = np.flatnonzero(later)
        key_of = same * span + rank
        # For each that left first: how many later ones there are, and how many of lower and of
        # equal risk.
        keys = np.sort(key_of[later])
        low, high = (
            np.searchsorted(keys, same[earlier] * span),
            np.searchsorted(keys, (same[earlier] + 1) * span),
        )
        under, upto = (np.searchsorted(keys, key_of[earlier], side) for side in ("left", "right"))
        pairs[earlier] += first[earlier] * (high - low)
        agree[earlier] += first[earlier] * ((under - low) + 0.5 * (upto - under))
        # And for each later one: the weights of those that left before it, and of those at higher
        # and at equal risk.
        order = earlier[np.argsort(key_of[earlier], kind="stable")]
        keys, sums = key_of[order], np.concatenate([[0.0], np.cumsum(first[order])])
        low, high = (
            np.searchsorted(keys, same[later] * span),
            np.searchsorted(keys, (same[later] + 1) * span),
        )
        under, upto = (np.searchsorted(keys, key_of[later], side) for side in ("left", "right"))
        pairs[later] += sums[high] - sums[low]
        agree[later] += (sums[high] - sums[upto]) + 0.5 * (sums[upto] - sums[under])
    return agree, pairs
