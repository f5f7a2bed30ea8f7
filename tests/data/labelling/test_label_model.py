"""The label model on votes whose truth is known, and on votes that hardly are any."""

from __future__ import annotations

import numpy as np
import pytest

from data.labelling.analysis import rule_statistics
from data.labelling.label_model import ABSTAIN, fit_label_model, majority


def one_sided_votes(
    rng: np.random.Generator,
    contacts: int = 4000,
    share: float = 0.1,
    hits: tuple[float, ...] = (0.8, 0.5, 0.4, 0.3),
    false: tuple[float, ...] = (0.02, 0.01, 0.03, 0.02),
) -> tuple[np.ndarray, np.ndarray]:
    """Rules that only ever vote 1, as a rule looking for a sign does. Returns truth and votes."""
    truth = (rng.random(contacts) < share).astype(int)
    rates = np.where(truth[:, None] == 1, hits, false)
    return truth, np.where(rng.random(rates.shape) < rates, 1, ABSTAIN)


def test_silence_of_a_rule_that_looks_for_a_sign_speaks_against_it() -> None:
    truth, votes = one_sided_votes(np.random.default_rng(1))
    combined = fit_label_model(votes, 2)
    silent = (votes == ABSTAIN).all(axis=1)
    assert combined.probabilities[silent, 1].max() < 0.1
    assert ((combined.probabilities[:, 1] > 0.5) == truth).mean() > 0.95
    assert combined.balance[1] == pytest.approx(truth.mean(), abs=0.04)


def test_silence_means_nothing_where_there_was_nothing_to_read() -> None:
    _, votes = one_sided_votes(np.random.default_rng(2))
    votes[:10] = ABSTAIN
    looked = np.arange(len(votes)) >= 10
    combined = fit_label_model(votes, 2, readable=looked)
    assert combined.probabilities[:10] == pytest.approx(np.tile(combined.balance, (10, 1)))


def test_a_rule_that_is_often_right_counts_more() -> None:
    rng = np.random.default_rng(3)
    truth = rng.integers(0, 3, 3000)
    accuracy = np.array([0.9, 0.6, 0.6])
    right = rng.random((3000, 3)) < accuracy
    votes = np.where(right, truth[:, None], (truth[:, None] + rng.integers(1, 3, (3000, 3))) % 3)
    combined = fit_label_model(votes, 3)
    assert combined.accuracy[0] > combined.accuracy[1:].max() + 0.1
    assert fit_label_model(np.array([[0, 1, 2], *votes]), 3).probabilities[0].argmax() == 0


def test_a_second_grouping_of_the_contacts_does_not_take_the_label_over() -> None:
    """The model finds the rare dead end although the presence of a menu explains more votes."""
    rng = np.random.default_rng(4)
    menu = rng.random(5000) < 0.2
    dead = menu & (rng.random(5000) < 0.2)
    votes = np.full((5000, 3), ABSTAIN)
    votes[~menu, 0] = 0  # no menu, no dead end
    votes[menu & ~dead & (rng.random(5000) < 0.6), 1] = 0  # the menu served
    votes[dead & (rng.random(5000) < 0.9), 2] = 1  # the menu gave up
    predicted = fit_label_model(votes, 2).probabilities[:, 1] > 0.5
    assert (predicted == dead).mean() > 0.98


def test_equal_votes_give_equal_probabilities_run_after_run() -> None:
    _, votes = one_sided_votes(np.random.default_rng(5))
    first, second = fit_label_model(votes, 2).probabilities, fit_label_model(votes, 2).probabilities
    assert np.array_equal(first, second)
    for pattern in np.unique(votes, axis=0):
        assert np.ptp(first[(votes == pattern).all(axis=1)], axis=0).max() == 0


@pytest.mark.parametrize(
    ("votes", "values"),
    [
        (np.full((5, 3), ABSTAIN), 4),
        (np.zeros((0, 3), int), 2),
        (np.zeros((5, 0), int), 2),
    ],
    ids=["nobody voted", "no contacts", "no rules"],
)
def test_without_votes_every_value_is_equally_likely(votes: np.ndarray, values: int) -> None:
    probabilities = fit_label_model(votes, values).probabilities
    assert probabilities.shape == (len(votes), values)
    assert np.allclose(probabilities, 1 / values)


def test_votes_for_a_single_value_leave_finite_probabilities() -> None:
    combined = fit_label_model(np.zeros((7, 3), int), 2)
    assert (combined.probabilities[:, 0] > 0.9).all()
    assert np.isfinite(combined.probabilities).all()


def test_a_vote_outside_the_values_is_refused() -> None:
    with pytest.raises(ValueError, match=r"-1 … 1, found 0 … 2"):
        fit_label_model(np.array([[0, 2]]), 2)


def test_majority_counts_votes_and_knows_when_there_are_none() -> None:
    shares = majority(np.array([[0, 0, 1], [ABSTAIN, 1, ABSTAIN], [ABSTAIN] * 3]), 2)
    assert np.allclose(shares, np.array([[2 / 3, 1 / 3], [0, 1], [0.5, 0.5]]))


def test_coverage_overlap_and_conflict_are_what_snorkel_calls_by_these_names() -> None:
    votes = np.array(
        [[0, 0, ABSTAIN], [0, 0, ABSTAIN], [0, 1, ABSTAIN], [ABSTAIN, 1, ABSTAIN], [ABSTAIN] * 3]
    )
    first, second, third = rule_statistics(votes)
    assert first == {"coverage": 0.6, "overlap": 0.6, "conflict": 0.2}
    assert second == {"coverage": 0.8, "overlap": 0.6, "conflict": 0.2}
    assert third == {"coverage": 0.0, "overlap": 0.0, "conflict": 0.0}
