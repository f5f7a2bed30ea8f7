"""Which given labels are probably wrong: confident learning from probabilities of models that had not seen them.

Northcutt, Jiang and Chuang (2021), "Confident learning: estimating uncertainty in dataset labels". A row counts as
confidently of class j when its probability of j is at least what rows labelled j have on average; how often that
disagrees with the label estimates how many of each kind are wrong, and so many with the largest margin are named.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class LabelIssues:
    """`rows` [suspects] from the most suspect on, the class suggested for each and its margin over the given one (the
    difference of their probabilities, -1 to 1), and the joint distribution of given (first axis) and true class."""

    rows: np.ndarray
    suggested: np.ndarray
    margin: np.ndarray
    joint: np.ndarray

    @property
    def noise_share(self) -> float:
        """The share of all labels that confident learning takes for wrong, some of which chance alone may explain."""
        return float(1 - np.trace(self.joint))


def label_issues(given: np.ndarray, probabilities: np.ndarray) -> LabelIssues:
    """Names the labels that are probably wrong, most suspect first.

    `given` int [rows] are class numbers, `probabilities` [rows, classes] come from models that did not train on the
    row (out of fold); from ones that did, they agree with wrong labels too. Prunes by noise rate (section 3.3).
    Raises ValueError when shapes do not fit, a probability is not one, or a class has no row.
    """
    given, probabilities = np.asarray(given), np.asarray(probabilities, dtype=np.float64)
    if probabilities.ndim != 2 or len(given) != len(probabilities) or not len(given):
        raise ValueError(
            f"suspects: {len(given)} labels and probabilities of shape {probabilities.shape} do not fit."
        )
    if not (
        np.isfinite(probabilities).all() and probabilities.min() >= 0 and probabilities.max() <= 1
    ):
        raise ValueError("suspects: a probability is not within 0 and 1.")
    classes = probabilities.shape[1]
    count = np.bincount(given, minlength=classes)
    if len(count) > classes or (count == 0).any():
        raise ValueError(
            "suspects: labels must be the numbers of the probabilities' columns, each with a row."
        )
    threshold = np.array([probabilities[given == j, j].mean() for j in range(classes)])
    reached = np.where(probabilities >= threshold, probabilities, -1.0)
    confident = reached.max(1) >= 0
    joint = np.zeros((classes, classes))
    np.add.at(joint, (given[confident], reached[confident].argmax(1)), 1)
    # Where nobody is confident of a class its labels are taken as given.
    joint[np.diag_indices(classes)] = np.maximum(np.diag(joint), 1)
    joint *= (count / joint.sum(1))[:, None] / len(given)

    own = probabilities[np.arange(len(given)), given]
    found: dict[int, tuple[int, float]] = {}
    for i in range(classes):
        for j in range(classes):
            margin = np.where(given == i, probabilities[:, j] - own, -np.inf)
            wrong = 0 if i == j else round(len(given) * joint[i, j])
            for row in np.argsort(-margin, kind="stable")[:wrong].tolist():
                if (
                    margin[row] > found.get(row, (j, 0.0))[1]
                ):  # never what the model itself would have labelled
                    found[row] = (j, float(margin[row]))
    rows = sorted(found, key=lambda row: (-found[row][1], row))
    return LabelIssues(
        np.array(rows, dtype=np.int64),
        np.array([found[row][0] for row in rows], dtype=np.int64),
        np.array([found[row][1] for row in rows]),
        joint,
    )
