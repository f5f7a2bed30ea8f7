"""How many clusters a paired swap test needs to prove a gain, by a clustered variance formula."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np

POWER = 0.8
_MOST = 10_000_000  # clusters; beyond it a gain is as good as none


def least_clusters(level: float) -> int:
    """Returns how many clusters a swap test needs to be able to reach `level`.

    Of k clusters that all speak for the candidate the p-value is 2^-k, and none is smaller.
    """
    return max(2, math.ceil(-math.log2(level) - 1e-9))


def clusters_needed(changes: np.ndarray, *, level: float, power: float = POWER) -> int | None:
    """Returns how many clusters like these prove their gain at `level` with probability `power`.

    `changes` [clusters] are the gains of the clusters, each summed over its units and less what the
    gain has to exceed. The test is `evaluation.metrics.bootstrap.swapped_p`: its statistic is
    Σx / √Σx², its critical value the normal one corrected for the kurtosis of swapped sums (Cornish
    and Fisher 1938). None where the sum of `changes` is not above 0, or where no number of clusters
    that exists would do. Raises ValueError with fewer than two clusters.
    """
    if len(changes) < 2:
        raise ValueError("power: one cluster does not show how much clusters differ.")
    mean, spread = float(changes.mean()), float(changes.std(ddof=1))
    fewest = least_clusters(level)
    if mean <= 0 or mean / max(spread, 1e-300) < _MOST**-0.5:
        return None
    squared = float((changes**2).mean())
    kurtosis = float((changes**4).mean()) / squared**2
    z, z_power = NormalDist().inv_cdf(1 - level), NormalDist().inv_cdf(power)
    needed = float(len(changes))
    for _ in range(100):
        critical = max(z / 2, z - (z**3 - 3 * z) * kurtosis / (12 * needed))
        root = (critical * (mean**2 + spread**2) ** 0.5 + z_power * spread) / mean
        needed = (needed + max(root**2, fewest)) / 2
    return math.ceil(needed - 1e-6)
