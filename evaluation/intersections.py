"""Finds intersections of slices in which a candidate is worse: searched on one half, tested on the other.

Nobody names "customers of the north who call at peak load" beforehand. Searching all pairs and
triples of slice values and testing what was found on the same units would find something in any
noise. So the clusters (voices or customers) are halved at random. The intersections with the most
suspicious loss on one half are tested on the other half alone, and the other way round, with Holm's
correction over all that were carried over. Each of these p-values is valid given the half that chose
it (Cox 1975, data splitting), so the family-wise error holds however many were searched.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import polars as pl

from evaluation.metrics.bootstrap import LEVEL, Interval, holm, paired_difference, paired_p
from evaluation.scorecard import Scorecard, gain_sides, pair

CARRIED = 2  # intersections that each half hands to the other
MIN_SHARE = 0.05  # of the units with a weight; a smaller intersection is not searched
MAX_CELLS = 5000  # the largest ones are searched
_MAX_OVERLAP = 0.5  # two that are carried over share at most so much of their units (Jaccard)


@dataclass(frozen=True)
class IntersectionGain:
    """The gain within an intersection, on the half that did not choose it.

    `gain` is positive for better. `p` is the one-sided p-value of "no worse than allowed" after
    Holm's correction over all intersections that were carried over.
    """

    what: str  # "region north and load peak"
    gain: Interval
    p: float


@dataclass(frozen=True)
class Search:
    """What a search came to: the number of intersections searched, and those tested."""

    searched: int
    tested: tuple[IntersectionGain, ...]  # the most significant loss first


@dataclass(frozen=True)
class _Cell:
    what: str
    units: np.ndarray  # places of its units


def search_intersections(
    candidate: Scorecard,
    reference: Scorecard,
    metric: str,
    *,
    seed: int,
    allowed: float = 0.0,
    min_clusters: int = 5,
    level: float = LEVEL,
) -> Search:
    """Searches pairs and triples of slice values for a loss beyond `allowed`, by sample splitting.

    `allowed` is in units of the metric. Searched are intersections with `min_clusters` clusters in
    each half and MIN_SHARE of the units. Raises ScorecardError when the two scorecards are not on
    the same units.
    """
    rows = pair(candidate, reference, metric).filter(pl.col("den_a") > 0)
    columns = sorted(set(candidate.slices) & set(reference.slices) & set(candidate.units.columns))
    rows = rows.join(
        candidate.units.select("unit", *(pl.col(by).cast(pl.String) for by in columns)),
        on="unit",
        how="left",
        maintain_order="left",
    )
    lower = candidate.ratios[metric].lower_is_better
    first, second = (np.stack(side, axis=1) for side in gain_sides(rows, lower_is_better=lower))
    cluster = rows["cluster"].rank("dense").to_numpy().astype(np.int64) - 1
    half = _halves(int(cluster.max(initial=-1)) + 1, seed)[cluster] if len(cluster) else cluster
    cells = _cells(rows, columns, cluster, half, min_clusters)
    chosen: list[tuple[_Cell, int]] = []
    for searching in (0, 1):
        for cell in _most_suspicious(cells, first, second, cluster, half == searching, allowed):
            chosen.append((cell, 1 - searching))
    gains, ps = [], []
    for cell, testing in chosen:
        places = cell.units[half[cell.units] == testing]
        sides = tuple((side[places, 0], side[places, 1]) for side in (first, second))
        names = rows["cluster"].to_numpy()[places]
        p = paired_p(sides[0], sides[1], names, seed=seed, at_least=-allowed)
        if p is not None:
            gains.append(
                (cell.what, paired_difference(sides[0], sides[1], names, seed=seed, level=level))
            )
            ps.append(p)
    tested = [
        IntersectionGain(what, gain, p) for (what, gain), p in zip(gains, holm(ps), strict=True)
    ]
    return Search(len(cells), tuple(sorted(tested, key=lambda row: (row.p, row.gain.value))))


def _halves(clusters: int, seed: int) -> np.ndarray:
    """Returns 0 or 1 for each cluster, half of them each, drawn with `seed`."""
    order = np.random.default_rng([seed, 0x51DE]).permutation(clusters)
    return (order % 2).astype(np.int64)


def _cells(
    rows: pl.DataFrame,
    columns: list[str],
    cluster: np.ndarray,
    half: np.ndarray,
    min_clusters: int,
) -> list[_Cell]:
    """Returns the pairs and triples of values of different columns that are large enough.

    One that holds exactly the units of a part of it says nothing new, and is left out. Sizes do not
    depend on how well a unit was predicted, so both halves may be counted.
    """
    least = max(1, round(MIN_SHARE * rows.height))

    def is_large(mask: np.ndarray) -> bool:
        return int(mask.sum()) >= least and all(
            len(np.unique(cluster[mask & (half == side)])) >= max(2, min_clusters)
            for side in (0, 1)
        )

    values = [(by, name, mask) for by, name, mask in _values(rows, columns) if is_large(mask)]
    singles = {mask.tobytes() for _, _, mask in values}
    found: dict[bytes, tuple[str, np.ndarray]] = {}
    pairs: dict[tuple[int, int], np.ndarray] = {}
    for (m, (by, name, mask)), (n, (other, value, other_mask)) in combinations(
        enumerate(values), 2
    ):
        both = mask & other_mask
        if by != other and is_large(both):
            pairs[m, n] = both
            found.setdefault(both.tobytes(), (f"{by} {name} and {other} {value}", both))
    for (m, n), both in pairs.items():
        for k in range(n + 1, len(values)):
            by, name, mask = values[k]
            if (m, k) not in pairs or (n, k) not in pairs or len(found) >= 4 * MAX_CELLS:
                continue
            three = both & mask
            if is_large(three):
                parts = f"{values[m][0]} {values[m][1]}, {values[n][0]} {values[n][1]}"
                found.setdefault(three.tobytes(), (f"{parts} and {by} {name}", three))
    cells = [
        _Cell(what, np.flatnonzero(mask))
        for content, (what, mask) in found.items()
        if content not in singles
    ]
    return sorted(cells, key=lambda cell: -len(cell.units))[:MAX_CELLS]


def _values(rows: pl.DataFrame, columns: list[str]) -> Iterator[tuple[str, str, np.ndarray]]:
    """Yields column, value and mask [units] of each value of each column."""
    for by in columns:
        for value in rows[by].drop_nulls().unique().sort():
            yield by, str(value), (rows[by] == value).fill_null(value=False).to_numpy()


def _most_suspicious(
    cells: list[_Cell],
    first: np.ndarray,
    second: np.ndarray,
    cluster: np.ndarray,
    searching: np.ndarray,
    allowed: float,
) -> list[_Cell]:
    """Returns the CARRIED cells with the largest loss in standard errors on the half `searching`.

    Of cells that share most of their units the first counts.
    """
    scored = []
    for number, cell in enumerate(cells):
        places = cell.units[searching[cell.units]]
        t = _t(first[places], second[places], cluster[places], allowed)
        if t < 0:
            scored.append((t, number))
    chosen: list[_Cell] = []
    for _, number in sorted(scored):
        cell = cells[number]
        if all(_overlap(cell.units, other.units) <= _MAX_OVERLAP for other in chosen):
            chosen.append(cell)
        if len(chosen) == CARRIED:
            break
    return chosen


def _t(first: np.ndarray, second: np.ndarray, cluster: np.ndarray, allowed: float) -> float:
    """Returns the gain above -`allowed` in standard errors, linearised and clustered.

    `first` and `second` are numerators and denominators, float64 [units, 2] (Cochran 1977, 6.4: the
    variance of a ratio).
    """
    totals = first.sum(0), second.sum(0)
    if totals[0][1] <= 0 or totals[1][1] <= 0:
        return 0.0
    ratios = [float(total[0] / total[1]) for total in totals]
    residual = (first[:, 0] - ratios[0] * first[:, 1]) / totals[0][1] - (
        second[:, 0] - ratios[1] * second[:, 1]
    ) / totals[1][1]
    by_cluster = np.bincount(cluster, residual)
    clusters = len(np.unique(cluster))
    error = float(np.sqrt((by_cluster**2).sum() * clusters / max(1, clusters - 1)))
    distance = ratios[0] - ratios[1] + allowed
    return distance / error if error > 0 else float(np.sign(distance)) * 1e9


def _overlap(units: np.ndarray, others: np.ndarray) -> float:
    shared = len(np.intersect1d(units, others, assume_unique=True))
    return shared / (len(units) + len(others) - shared)
