"""Boosted trees: they fit what an additive model cannot, stop early, and are the same every time."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from training.churn.boosting import Boosting, GrownTrees, grow_trees

SETTINGS = Boosting(rounds=60, depth=3, rate=0.2, patience=5)


def exclusive_or(rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Inputs float32 [rows, 3], the last one constant, and a target that needs the first two."""
    rng = np.random.default_rng(seed)
    inputs = rng.random((rows, 3)).astype(np.float32)
    inputs[:, 2] = 1.0
    likely = (inputs[:, 0] > 0.5) != (inputs[:, 1] > 0.5)
    return inputs, rng.random(rows) < np.where(likely, 0.9, 0.1)


def margins(trees: GrownTrees, inputs: np.ndarray) -> np.ndarray:
    over = inputs[:, trees.asked] > trees.threshold
    leaf = (over << np.arange(trees.asked.shape[1])).sum(2)
    summed: np.ndarray = trees.values[np.arange(len(trees.values)), leaf].sum(1)
    return summed


def log_loss(trees: GrownTrees, inputs: np.ndarray, target: np.ndarray) -> float:
    margin = margins(trees, inputs)
    return float(np.mean(np.logaddexp(0, margin) - target * margin))


def test_trees_learn_an_interaction_and_ask_nothing_of_a_constant() -> None:
    inputs, target = exclusive_or(800, 0)
    valid = exclusive_or(400, 1)
    trees = grow_trees(inputs, target, valid=valid, params=SETTINGS, seed=0)
    assert log_loss(trees, *valid) < 0.45 < np.log(2)
    assert abs(log_loss(trees, *valid) - trees.valid_loss) < 1e-9
    assert set(trees.asked.ravel().tolist()) == {0, 1}


def test_the_best_round_ends_the_trees_and_without_valid_rows_all_are_grown() -> None:
    inputs, target = exclusive_or(300, 0)
    noise = np.random.default_rng(2).random(200) < 0.5
    stopped = grow_trees(inputs, target, valid=(inputs[:200], noise), params=SETTINGS, seed=0)
    assert 1 <= len(stopped.values) < SETTINGS.rounds
    full = grow_trees(inputs, target, valid=None, params=replace(SETTINGS, rounds=7), seed=0)
    assert full.asked.shape == full.threshold.shape == (7, 3)
    assert full.values.shape == (7, 8)


def test_a_seed_gives_the_same_trees_and_another_seed_others() -> None:
    inputs, target = exclusive_or(300, 0)
    first, again, other = (
        grow_trees(inputs, target, valid=None, params=SETTINGS, seed=seed) for seed in (0, 0, 1)
    )
    assert np.array_equal(first.values, again.values)
    assert not np.array_equal(first.values, other.values)
