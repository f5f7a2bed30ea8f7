"""Combines the votes of rules of unknown accuracy into one probability a value.

Dawid and Skene (1979) with two changes that labelling functions need. Abstaining is an answer of
its own, because a rule that looks for a sign of friction and finds none is evidence too. And each
rule's confusion has a Dirichlet prior, "a vote is right with probability `prior_accuracy`", and is
kept better than chance, so that expectation maximisation cannot drift to a grouping that has
nothing to do with the label. docs/decisions/0003-label-model.md compares it with alternatives.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

ABSTAIN = -1
# a vote is taken to be at least so many times likelier where it is right than where it is wrong
_MIN_ODDS = 2.0
# no rule is taken to fire on more than this share of a class before its votes were seen
_MAX_RATE = 0.95


@dataclass(frozen=True)
class LabelModelFit:
    """A fitted model: probabilities [contacts, values], balance [values], accuracy [rules].

    `accuracy` is the share of a rule's votes estimated to be right, `rounds` the number of
    iterations.
    """

    probabilities: np.ndarray
    balance: np.ndarray
    accuracy: np.ndarray
    rounds: int


def fit_label_model(
    votes: np.ndarray,
    values: int,
    *,
    readable: np.ndarray | None = None,
    abstention_tells: bool = True,
    prior_accuracy: float = 0.8,
    prior_weight: float = 0.5,
    iterations: int = 50,
) -> LabelModelFit:
    """Fits the model to `votes` [contacts, rules] and returns the probabilities of all contacts.

    Votes are value numbers from 0, or ABSTAIN. `abstention_tells` says that value 0 means
    absence, so that abstaining is evidence for it. `readable` [contacts] is False where rules
    had no text: there, abstaining is no evidence. Deterministic. Without rules or votes all
    values are equally likely. Raises ValueError for a vote outside 0 … values-1.
    """
    votes = np.asarray(votes)
    contacts, rules = votes.shape
    if votes.size and (votes.max() >= values or votes.min() < ABSTAIN):
        raise ValueError(
            f"votes must lie in {ABSTAIN} … {values - 1}, found {votes.min()} … {votes.max()}."
        )
    if contacts == 0 or rules == 0 or (votes == ABSTAIN).all():
        even = np.full(values, 1 / values)
        return LabelModelFit(np.tile(even, (contacts, 1)), even, np.full(rules, np.nan), 0)
    readable = np.ones(contacts, bool) if readable is None else readable

    # Contacts with the same votes have the same probabilities: each pattern of votes is fitted
    # once, with the number of its contacts as weight.
    stacked = np.column_stack([votes, readable])
    patterns, pattern_of, counts = np.unique(
        stacked, axis=0, return_inverse=True, return_counts=True
    )
    weights = counts.astype(float)
    answers = _one_hot(patterns[:, :rules], patterns[:, rules:].astype(bool), values)
    # Abstentions always count in the confusion, or a rule that knows one value only would seem to
    # give it to everybody; they are evidence about a contact only where value 0 means absence.
    evidence = answers.copy()
    evidence[..., values] *= abstention_tells
    flat_answers = answers.reshape(len(answers), -1)
    flat_evidence = evidence.reshape(len(answers), -1)

    balance = _balance_of_votes(answers[..., :values], weights, abstention_tells)
    prior = _prior(answers, weights, balance=balance, accuracy=prior_accuracy)
    probabilities, rounds = _expect(flat_evidence, balance, prior), 0
    for rounds in range(1, iterations + 1):  # noqa: B007 (returned to the caller)
        before = probabilities
        mass = weights[:, None] * probabilities
        size = mass.sum(axis=0)
        balance = (size + 1 / values) / (size.sum() + 1)
        counted = (mass.T @ flat_answers).reshape(values, rules, values + 1)
        confusion = _confusion(counted, prior, prior_weight)
        probabilities = _expect(flat_evidence, balance, confusion)
        if np.abs(probabilities - before).max() < 1e-4:
            break
    accuracy = _accuracy(answers, weights, probabilities)
    return LabelModelFit(probabilities[pattern_of.ravel()], balance, accuracy, rounds)


def _one_hot(votes: np.ndarray, readable: np.ndarray, values: int) -> np.ndarray:
    """Answers [patterns, rules, values + 1]: one-hot, the last place for "read and abstained"."""
    answers = np.zeros((*votes.shape, values + 1))
    rows, columns = np.nonzero(votes != ABSTAIN)
    answers[rows, columns, votes[rows, columns]] = 1
    answers[..., values] = (votes == ABSTAIN) & readable
    return answers


def majority(votes: np.ndarray, values: int) -> np.ndarray:
    """Returns the share of the votes each value got, [contacts, values]; even without votes."""
    counts = np.stack([(votes == value).sum(axis=1) for value in range(values)], axis=1).astype(
        float
    )
    total = counts.sum(axis=1, keepdims=True)
    return np.asarray(np.where(total > 0, counts / np.maximum(total, 1), 1 / values))


def _balance_of_votes(cast: np.ndarray, weights: np.ndarray, abstention_tells: bool) -> np.ndarray:
    """Start of the class balance: the highest share of votes any rule gives a value, smoothed."""
    rates = np.einsum("p,prv->rv", weights, cast) / weights.sum()
    start = rates.max(axis=0) + 0.02
    if abstention_tells:
        start[0] = max(start[0], weights[cast[..., 1:].sum(axis=(1, 2)) == 0].sum() / weights.sum())
    return np.asarray(start / start.sum())


def _prior(
    answers: np.ndarray, weights: np.ndarray, *, balance: np.ndarray, accuracy: float
) -> np.ndarray:
    """P(answer | value) [values, rules, answers] if votes were right with `accuracy`.

    This holds for votes for rare values as well.
    """
    values = len(balance)
    answered = np.einsum("p,pro->r", weights, answers)
    rates = np.einsum("p,pro->ro", weights, answers)[:, :values] / np.maximum(answered, 1)[:, None]
    prior = np.zeros((values, answers.shape[1], values + 1))
    odds = accuracy / (1 - accuracy) * np.maximum((1 - balance) / balance, values - 1)
    for value in range(values):
        # As often as it was seen, and `odds` times as often where it is right as where it is wrong.
        hit = np.minimum(
            rates[:, value] / (balance[value] + (1 - balance[value]) / odds[value]), _MAX_RATE
        )
        prior[:, :, value] = hit / odds[value]
        prior[value, :, value] = hit
    fired = prior[..., :values].sum(axis=2, keepdims=True)
    prior[..., :values] *= np.minimum(1, _MAX_RATE / np.maximum(fired, 1e-9))
    prior[..., values] = 1 - prior[..., :values].sum(axis=2)
    return _better_than_chance(prior)


def _confusion(counted: np.ndarray, prior: np.ndarray, prior_weight: float) -> np.ndarray:
    """P(answer | value) [values, rules, answers] from counted answers and their prior.

    The prior counts as a share of the evidence, so that it does not fade with more data, plus one
    contact.
    """
    share = prior_weight * counted.sum(axis=2, keepdims=True) + 1
    confusion = counted + share * prior
    return _better_than_chance(confusion / confusion.sum(axis=2, keepdims=True))


def _better_than_chance(confusion: np.ndarray) -> np.ndarray:
    """Caps a value's wrong votes at 1/_MIN_ODDS of their rate where they are right."""
    values = len(confusion)
    for value in range(values):
        most = confusion[value, :, value] / _MIN_ODDS
        others = np.arange(values) != value
        confusion[others, :, value] = np.minimum(confusion[others, :, value], most)
    confusion[..., values] = 1 - confusion[..., :values].sum(axis=2)
    return confusion


def _expect(flat: np.ndarray, balance: np.ndarray, confusion: np.ndarray) -> np.ndarray:
    """P(value | answers) by Bayes' rule, with rules independent given the value."""
    scores = flat @ np.log(np.maximum(confusion, 1e-9)).reshape(len(balance), -1).T + np.log(
        balance
    )
    scores -= scores.max(axis=1, keepdims=True)
    raised = np.exp(scores)
    return np.asarray(raised / raised.sum(axis=1, keepdims=True))


def _accuracy(answers: np.ndarray, weights: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    cast = answers[..., : probabilities.shape[1]]
    right = np.einsum("p,prv,pv->r", weights, cast, probabilities)
    total = np.einsum("p,prv->r", weights, cast)
    return np.where(total > 0, right / np.maximum(total, 1), np.nan)
