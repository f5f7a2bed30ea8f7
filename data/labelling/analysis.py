"""Computes coverage, overlap and conflict of rules as Snorkel's LFAnalysis defines them."""

from __future__ import annotations

from typing import Any

import numpy as np

from data.labelling.label_model import ABSTAIN, LabelModelFit


def rule_statistics(votes: np.ndarray) -> list[dict[str, float]]:
    """Returns the shares of contacts that each rule covers, overlaps and conflicts on.

    `votes` are [contacts, rules] of one label. coverage: the rule votes; overlap: it votes and
    so does another; conflict: it votes and another votes otherwise.
    """
    contacts = max(len(votes), 1)
    cast = votes != ABSTAIN
    shares = []
    for rule in range(votes.shape[1]):
        others = np.delete(votes, rule, axis=1)
        overlap = cast[:, rule] & (others != ABSTAIN).any(axis=1)
        conflict = overlap & ((others != ABSTAIN) & (others != votes[:, [rule]])).any(axis=1)
        shares.append(
            {
                "coverage": float(cast[:, rule].sum() / contacts),
                "overlap": float(overlap.sum() / contacts),
                "conflict": float(conflict.sum() / contacts),
            }
        )
    return shares


def label_statistics(
    values: tuple[str, ...], votes: np.ndarray, *, fitted: LabelModelFit, given: np.ndarray
) -> dict[str, Any]:
    """Returns coverage by any rule, conflict between any two, and balance of the values `given`.

    `votes` are [contacts, rules], `given` is true for contacts that get a value.
    """
    contacts = max(len(votes), 1)
    cast = votes != ABSTAIN
    highest = np.where(cast, votes, -2).max(axis=1, initial=-2)
    lowest = np.where(cast, votes, len(values) + 1).min(axis=1, initial=len(values) + 1)
    best, chosen = (
        fitted.probabilities.max(axis=1, initial=0.0),
        fitted.probabilities.argmax(axis=1),
    )
    return {
        "coverage": float(cast.any(axis=1).sum() / contacts),
        "conflict": float((cast.any(axis=1) & (highest != lowest)).sum() / contacts),
        "labelled": float(given.sum() / contacts),
        "mean_probability": float(best[given].mean()) if given.any() else None,
        "class_balance": {
            value: float((given & (chosen == number)).sum() / max(given.sum(), 1))
            for number, value in enumerate(values)
        },
        "rounds": fitted.rounds,
    }
