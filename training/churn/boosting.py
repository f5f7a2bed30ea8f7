"""Fits boosted oblivious trees to a yes/no target: Newton steps on the logistic loss, stopped on validation rows.

The recipe is CatBoost's (Prokhorenkova et al., 2018; Dorogush et al., 2018): a question is asked of a whole level,
chosen with some noise that fades, from a sample of the rows. With few rows that overfits less than trees grown leaf by
leaf.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from data.progress import Progress


@dataclass(frozen=True)
class Boosting:
    """How trees are grown."""

    rounds: int = 1000  # at most so many trees
    depth: int = 6  # questions a tree
    rate: float = 0.03  # share of a Newton step a tree takes
    ridge: float = 3.0  # added to the curvature of each leaf
    sample: float = 0.8  # of the rows, for choosing a tree's questions
    noise: float = 1.0  # of the choice, in standard deviations of the gradient; it fades to nothing over the rounds
    patience: int = 50  # trees without a better valid loss before stopping
    borders: int = 128  # thresholds tried an input, at most


@dataclass(frozen=True)
class GrownTrees:
    """asked int [trees, depth], threshold [trees, depth] and values [trees, 2**depth], as models.trees takes them."""

    asked: np.ndarray
    threshold: np.ndarray
    values: np.ndarray
    valid_loss: float


def grow_trees(
    inputs: np.ndarray,
    left: np.ndarray,
    *,
    valid: tuple[np.ndarray, np.ndarray] | None,
    params: Boosting,
    seed: int,
    progress: Progress = lambda done, total: None,
) -> GrownTrees:
    """Trees for inputs float32 [rows, width] and bool `left`; the rounds after the best on `valid` are dropped.

    Without `valid` there are exactly `params.rounds` trees.
    """
    rng = np.random.default_rng(seed)
    left = left.astype(np.float64)
    borders = [_borders(column, params.borders) for column in inputs.T]
    used = np.array([n for n, found in enumerate(borders) if len(found)])
    # Candidate questions of all inputs lie side by side; the last bin of each input asks nothing.
    width = np.array([len(borders[n]) + 1 for n in used])
    begin = np.cumsum(width) - width
    owner, start = np.repeat(np.arange(len(used)), width), np.repeat(begin, width)
    asks = np.ones(width.sum(), bool)
    asks[begin + width - 1] = False
    binned = np.column_stack([np.searchsorted(borders[n], inputs[:, n], side="left") for n in used])
    place = binned + begin

    margin = np.full(len(left), np.log(left.mean() / (1 - left.mean())))
    level = margin[0]
    held = None if valid is None else np.full(len(valid[1]), level)
    asked, threshold, values = [], [], []
    best_loss, best = np.inf, 0
    for number in range(params.rounds):
        risk = 1 / (1 + np.exp(-margin))
        gradient, curvature = left - risk, risk * (1 - risk)
        chosen = np.flatnonzero(rng.random(len(left)) < params.sample)
        spread = params.noise * gradient[chosen].std() * (1 - number / params.rounds)
        questions = _questions(
            place[chosen], gradient[chosen], curvature[chosen], start, asks, params, spread, rng
        )
        column, border = owner[questions], questions - start[questions]
        leaf = ((binned[:, column] > border) << np.arange(params.depth)).sum(1)
        size = 2**params.depth
        step = (
            params.rate
            * np.bincount(leaf, gradient, size)
            / (np.bincount(leaf, curvature, size) + params.ridge)
        )
        margin += step[leaf]
        asked.append(used[column])
        threshold.append([borders[used[c]][b] for c, b in zip(column, border, strict=True)])
        values.append(step)
        if valid is not None and held is not None:
            over = valid[0][:, asked[-1]] > np.array(threshold[-1], dtype=np.float32)
            held += step[(over << np.arange(params.depth)).sum(1)]
            loss = float(np.mean(np.logaddexp(0, held) - valid[1] * held))
            if loss < best_loss:
                best_loss, best = loss, number + 1
            elif number + 1 - best >= params.patience:
                break
        progress(number + 1, params.rounds)
    count = max(1, best) if valid is not None else params.rounds
    values[0] = values[0] + level
    return GrownTrees(
        np.array(asked[:count]),
        np.array(threshold[:count], dtype=np.float32),
        np.array(values[:count]),
        best_loss,
    )


def _questions(
    place: np.ndarray,
    gradient: np.ndarray,
    curvature: np.ndarray,
    start: np.ndarray,
    asks: np.ndarray,
    params: Boosting,
    spread: float,
    rng: np.random.Generator,
) -> np.ndarray:
    """The questions of one tree, as places among all candidates: each level takes the one that gains most."""
    total = len(asks)
    first = start > 0
    before = np.maximum(start - 1, 0)
    repeated = [np.repeat(part, place.shape[1]) for part in (gradient, curvature)]
    leaf = np.zeros(len(place), np.int64)
    end_of_first = int(np.flatnonzero(~asks)[0])
    questions = np.zeros(params.depth, np.int64)
    for level in range(params.depth):
        leaves = 2**level
        index = (place + leaf[:, None] * total).ravel()
        sums = []
        for part in repeated:
            running = np.cumsum(
                np.bincount(index, part, leaves * total).reshape(leaves, total), axis=1
            )
            below = running - np.where(first, running[:, before], 0)
            sums.append((below, running[:, [end_of_first]] - below))
        (g_low, g_high), (h_low, h_high) = sums
        gain = (g_low**2 / (h_low + params.ridge) + g_high**2 / (h_high + params.ridge)).sum(0)
        gain = np.where(asks, gain + rng.normal(0, spread, total), -np.inf)
        questions[level] = gain.argmax()
        begin = start[questions[level]]
        column = np.searchsorted(np.flatnonzero(~asks), questions[level])
        leaf |= (place[:, column] - begin > questions[level] - begin).astype(np.int64) << level
    return questions


def _borders(values: np.ndarray, most: int) -> np.ndarray:
    """Thresholds between neighbouring values, at quantiles where there are more than `most`."""
    found = np.unique(values)
    if len(found) > most + 1:
        at = np.searchsorted(
            found, np.quantile(values, np.linspace(0, 1, most + 2)[1:-1]), side="right"
        )
        at = np.unique(np.clip(at, 1, len(found) - 1))
    else:
        at = np.arange(1, len(found))
    return ((found[at - 1] + found[at]) / 2).astype(np.float32)
