"""Grows boosted oblivious trees for a yes/no target, stopped early on validation rows.

The recipe is CatBoost's (Prokhorenkova et al., 2018; Dorogush et al., 2018): Newton steps on the
logistic loss, one question for a whole level of a tree, chosen on a sample of the rows with noise
that decays. With few rows that overfits less than trees grown leaf by leaf.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from data.progress import Progress


@dataclass(frozen=True)
class Boosting:
    """Settings of the trees."""

    rounds: int = 1000  # at most so many trees
    depth: int = 6  # questions a tree
    rate: float = 0.03  # share of a Newton step a tree takes
    ridge: float = 3.0  # added to the curvature of each leaf
    sample: float = 0.8  # of the rows, for choosing a tree's questions
    # Of the choice, in standard deviations of the gradient; it falls to zero over the rounds.
    noise: float = 1.0
    patience: int = 50  # trees without a better valid loss before stopping
    borders: int = 128  # thresholds tried an input, at most


@dataclass(frozen=True)
class GrownTrees:
    """Trees as models.churn.trees takes them."""

    asked: np.ndarray  # int [trees, depth], input of each question
    threshold: np.ndarray  # float32 [trees, depth]
    values: np.ndarray  # float64 [trees, 2 ** depth], of the leaves
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
    """Returns trees for inputs float32 [rows, width] and the target bool `left` [rows].

    `valid` is (inputs, target) to stop on: trees after the best round are dropped. Without it there
    are exactly `params.rounds` trees.
    """
    rng = np.random.default_rng(seed)
    left = left.astype(np.float64)
    questions = _Questions(inputs, params)
    margin = np.full(len(left), np.log(left.mean() / (1 - left.mean())))
    base_margin = margin[0]
    valid_margin = None if valid is None else np.full(len(valid[1]), base_margin)
    asked, threshold, values = [], [], []
    best_loss, best = np.inf, 0
    powers = np.arange(params.depth)
    for number in range(params.rounds):
        risk = 1 / (1 + np.exp(-margin))
        gradient, curvature = left - risk, risk * (1 - risk)
        rows = np.flatnonzero(rng.random(len(left)) < params.sample)
        noise_std = params.noise * gradient[rows].std() * (1 - number / params.rounds)
        chosen = questions.choose(rows, gradient, curvature, noise_std=noise_std, rng=rng)
        leaf = questions.leaves(chosen)
        step = _newton_step(leaf, gradient, curvature, params=params)
        margin += step[leaf]
        columns, thresholds = questions.describe(chosen)
        asked.append(columns)
        threshold.append(thresholds)
        values.append(step)
        if valid is not None and valid_margin is not None:
            over = valid[0][:, asked[-1]] > np.array(threshold[-1], dtype=np.float32)
            valid_margin += step[(over << powers).sum(1)]
            loss = float(np.mean(np.logaddexp(0, valid_margin) - valid[1] * valid_margin))
            if loss < best_loss:
                best_loss, best = loss, number + 1
            elif number + 1 - best >= params.patience:
                break
        progress(number + 1, params.rounds)
    count = max(1, best) if valid is not None else params.rounds
    values[0] = values[0] + base_margin
    return GrownTrees(
        np.array(asked[:count]),
        np.array(threshold[:count], dtype=np.float32),
        np.array(values[:count]),
        best_loss,
    )


def _newton_step(
    leaf: np.ndarray, gradient: np.ndarray, curvature: np.ndarray, *, params: Boosting
) -> np.ndarray:
    """Returns the value of each leaf, float64 [2 ** depth]."""
    size = 2**params.depth
    step: np.ndarray = (
        params.rate
        * np.bincount(leaf, gradient, size)
        / (np.bincount(leaf, curvature, size) + params.ridge)
    )
    return step


class _Questions:
    """All candidate questions: is an input over one of its borders?

    The questions of all inputs that vary lie side by side. An input has one bin more than borders;
    its last bin asks nothing.
    """

    def __init__(self, inputs: np.ndarray, params: Boosting) -> None:
        self._params = params
        self._borders = [_borders(column, params.borders) for column in inputs.T]
        self._used = np.array([n for n, borders in enumerate(self._borders) if len(borders)])
        width = np.array([len(self._borders[n]) + 1 for n in self._used])
        begin = np.cumsum(width) - width
        self._owner = np.repeat(np.arange(len(self._used)), width)
        self._start = np.repeat(begin, width)
        self._asks = np.ones(width.sum(), bool)
        self._asks[begin + width - 1] = False
        self._bins = np.column_stack(
            [np.searchsorted(self._borders[n], inputs[:, n], side="left") for n in self._used]
        )
        self._place = self._bins + begin

    def choose(
        self,
        rows: np.ndarray,
        gradient: np.ndarray,
        curvature: np.ndarray,
        *,
        noise_std: float,
        rng: np.random.Generator,
    ) -> np.ndarray:
        """Returns the questions of one tree, int64 [depth]: each level takes the largest gain.

        Gains are computed on `rows`, with normal noise of `noise_std`.
        """
        place, start, asks = self._place[rows], self._start, self._asks
        total, is_later = len(asks), start > 0
        before = np.maximum(start - 1, 0)
        repeated = [np.repeat(part[rows], place.shape[1]) for part in (gradient, curvature)]
        ends = np.flatnonzero(~asks)
        leaf = np.zeros(len(place), np.int64)
        questions = np.zeros(self._params.depth, np.int64)
        ridge = self._params.ridge
        for level in range(self._params.depth):
            leaves = 2**level
            index = (place + leaf[:, None] * total).ravel()
            sums = []
            for part in repeated:
                running = np.cumsum(
                    np.bincount(index, part, leaves * total).reshape(leaves, total), axis=1
                )
                below = running - np.where(is_later, running[:, before], 0)
                sums.append((below, running[:, [int(ends[0])]] - below))
            (g_low, g_high), (h_low, h_high) = sums
            gain = (g_low**2 / (h_low + ridge) + g_high**2 / (h_high + ridge)).sum(0)
            gain = np.where(asks, gain + rng.normal(0, noise_std, total), -np.inf)
            questions[level] = gain.argmax()
            begin = start[questions[level]]
            column = np.searchsorted(ends, questions[level])
            is_over = place[:, column] - begin > questions[level] - begin
            leaf |= is_over.astype(np.int64) << level
        return questions

    def leaves(self, questions: np.ndarray) -> np.ndarray:
        """Returns the leaf of every row, int [rows]."""
        column, border = self._owner[questions], questions - self._start[questions]
        leaf: np.ndarray = ((self._bins[:, column] > border) << np.arange(self._params.depth)).sum(
            1
        )
        return leaf

    def describe(self, questions: np.ndarray) -> tuple[np.ndarray, list[float]]:
        """Returns the input and the threshold of each question."""
        column, border = self._owner[questions], questions - self._start[questions]
        thresholds = [self._borders[self._used[c]][b] for c, b in zip(column, border, strict=True)]
        return self._used[column], thresholds


def _borders(values: np.ndarray, most: int) -> np.ndarray:
    """Returns thresholds between neighbouring values, at quantiles where there are over `most`."""
    distinct = np.unique(values)
    if len(distinct) > most + 1:
        at = np.searchsorted(
            distinct, np.quantile(values, np.linspace(0, 1, most + 2)[1:-1]), side="right"
        )
        at = np.unique(np.clip(at, 1, len(distinct) - 1))
    else:
        at = np.arange(1, len(distinct))
    borders: np.ndarray = ((distinct[at - 1] + distinct[at]) / 2).astype(np.float32)
    return borders
