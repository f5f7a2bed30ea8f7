"""Finds labels that are probably wrong, by confident learning from out-of-fold probabilities.

Northcutt, Jiang and Chuang (2021), "Confident learning: estimating uncertainty in dataset labels".
A row counts as confidently of class j when its probability of j is at least what rows labelled j
have on average. How often that disagrees with the label estimates how many of each kind are wrong,
and so many with the largest margin are named.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class LabelIssues:
    """The rows whose labels are probably wrong, most suspect first.

    `rows` [issues] are row numbers, `suggested` the class suggested for each, and `margin` its
    probability less that of the given class (-1 to 1). `joint` is the joint distribution of given
    (first axis) and true class.
    """

    rows: np.ndarray
    suggested: np.ndarray
    margin: np.ndarray
    joint: np.ndarray

    @property
    def noise_share(self) -> float:
        """The share of all labels that are estimated to be wrong; chance alone may explain some."""
        return float(1 - np.trace(self.joint))


def label_issues(given: np.ndarray, probabilities: np.ndarray) -> LabelIssues:
    """Returns the labels that are probably wrong, most suspect first.

    `given` int [rows] are class numbers, `probabilities` [rows, classes] come from models that did
    not train on the row (out of fold); those of models that did agree with wrong labels too. Prunes
    by noise rate (section 3.3). Raises ValueError when shapes do not fit, a probability is not one,
    or a class has no row.
    """
    given, probabilities = np.asarray(given), np.asarray(probabilities, dtype=np.float64)
    if probabilities.ndim != 2 or len(given) != len(probabilities) or not len(given):
        raise ValueError(
            f"label issues: {len(given)} labels and probabilities of shape {probabilities.shape} "
            "do not fit."
        )
    if not (
        np.isfinite(probabilities).all() and probabilities.min() >= 0 and probabilities.max() <= 1
    ):
        raise ValueError("label issues: a probability is not within 0 and 1.")
    classes = probabilities.shape[1]
    count = np.bincount(given, minlength=classes)
    if len(count) > classes or (count == 0).any():
        raise ValueError(
            "label issues: labels must be the numbers of the probabilities' columns, each with a row."
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
    issues: dict[int, tuple[int, float]] = {}
    for i in range(classes):
        for j in range(classes):
            margin = np.where(given == i, probabilities[:, j] - own, -np.inf)
            wrong = 0 if i == j else round(len(given) * joint[i, j])
            for row in np.argsort(-margin, kind="stable")[:wrong].tolist():
                if (
                    margin[row] > issues.get(row, (j, 0.0))[1]
                ):  # never what the model itself would have labelled
                    issues[row] = (j, float(margin[row]))
    rows = sorted(issues, key=lambda row: (-issues[row][1], row))
    return LabelIssues(
        np.array(rows, dtype=np.int64),
        np.array([issues[row][0] for row in rows], dtype=np.int64),
        np.array([issues[row][1] for row in rows]),
        joint,
    )
