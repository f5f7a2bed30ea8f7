"""Combines the votes of rules of unknown accuracy into one probability a value.

Dawid and Skene (1979) with two changes that labelling functions need. Abstaining is an answer of
its own, because a rule that looks for a sign of friction and finds none is evidence too. And each
rule's confusion has a Dirichlet prior, "a vote is right with probability `prior_accuracy`", and is
kept better than chance, so that expectation maximisation cannot drift to a grouping that has
nothing to do with the label. docs/decisions/0003-label-model.md compares it with alternatives,
docs/decisions/0019-as-known-then.md says why a month is labelled by a model of the months before.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

ABSTAIN = -1
# a vote is taken to be at least so many times likelier where it is right than where it is wrong
_MIN_ODDS = 2.0
# no rule is taken to fire on more than this share of a class before its votes were seen
_MAX_RATE = 0.95
# Before any contact was seen: how often a rule is taken to vote for a value that is right, if its
# examples show that vote and if not, and the share of absence for labels about presence or absence.
# Chosen on the simulator (decision 0019).
_PRIOR_COVERAGE = 0.3
_PRIOR_UNSHOWN = 0.02
_PRIOR_ABSENCE = 0.9
# a vote counts as cast this often more than it was seen, so that the first of its kind tells something
_PSEUDO_VOTES = 0.5
# with fewer contacts before a period, their votes say less about the rules than the prior does
_MIN_FITTED = 100


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


@dataclass(frozen=True)
class FitSettings:
    """How votes are weighed: see `data.labelling.scheme.LabellingParams`."""

    # value 0 means absence, so that abstaining is evidence for it
    abstention_tells: bool = True
    prior_accuracy: float = 0.8
    prior_weight: float = 0.5
    iterations: int = 50


@dataclass(frozen=True)
class LabelModel:
    """P(value) [values] and P(answer | value) [values, rules, values + 1]; the last is abstaining.

    Its probabilities of a contact depend on that contact's votes alone, bit for bit.
    """

    balance: np.ndarray
    confusion: np.ndarray
    abstention_tells: bool = True

    def probabilities(self, votes: np.ndarray, readable: np.ndarray) -> np.ndarray:
        """Returns [contacts, values] for `votes` [contacts, rules]; arguments as `fit_label_model`.

        Sums rule by rule: a matrix product may round differently with the number of contacts.
        """
        logs = np.log(np.maximum(self.confusion, 1e-9))
        values = len(self.balance)
        if not self.abstention_tells:
            logs = logs.copy()
            logs[..., values] = 0.0
        scores = np.tile(np.log(self.balance), (len(votes), 1))
        for rule in range(votes.shape[1]):
            answer = np.where(votes[:, rule] == ABSTAIN, values, votes[:, rule])
            is_read = (votes[:, rule] != ABSTAIN) | readable
            scores += np.where(is_read[:, None], logs[:, rule, :].T[answer], 0.0)
        return _normalised(scores)


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
    votes = _checked(votes, values)
    contacts, rules = votes.shape
    if contacts == 0 or rules == 0 or (votes == ABSTAIN).all():
        even = np.full(values, 1 / values)
        return LabelModelFit(np.tile(even, (contacts, 1)), even, np.full(rules, np.nan), 0)
    readable = np.ones(contacts, bool) if readable is None else readable
    settings = FitSettings(abstention_tells, prior_accuracy, prior_weight, iterations)
    patterns, pattern_of = _patterns(votes, readable)
    counts = np.bincount(pattern_of, minlength=len(patterns)).astype(float)
    fit = _fit(patterns, counts, values, settings)
    return LabelModelFit(fit.probabilities[pattern_of], fit.model.balance, fit.accuracy, fit.rounds)


def fit_by_period(
    votes: np.ndarray,
    values: int,
    *,
    period: np.ndarray,
    votable: np.ndarray,
    readable: np.ndarray,
    settings: FitSettings,
) -> LabelModelFit:
    """Returns the probabilities of each contact by the model of the periods before its own.

    So what comes later never changes them. `period` [contacts] are numbers that grow with time,
    `votable` [rules, values] says which values a rule's examples show it voting for. Contacts with fewer than
    _MIN_FITTED before their period are labelled by `prior_model`. Balance, accuracy and rounds are
    of the model fitted on all contacts: the one for the next period. Otherwise as
    `fit_label_model`.
    """
    votes = _checked(votes, values)
    if not len(votes) or not votes.shape[1]:
        return fit_label_model(votes, values)
    patterns, pattern_of = _patterns(votes, readable)
    seen = np.zeros(len(patterns))
    probabilities = np.empty((len(votes), values))
    for number in np.unique(period):
        now = period == number
        model = _model_of(patterns, seen, values, settings=settings, votable=votable)
        probabilities[now] = model.probabilities(votes[now], readable[now])
        seen += np.bincount(pattern_of[now], minlength=len(patterns))
    if (votes == ABSTAIN).all():
        balance, accuracy, rounds = np.full(values, 1 / values), np.full(votes.shape[1], np.nan), 0
    else:
        last = _fit(patterns, seen, values, settings, votable)
        balance, accuracy, rounds = last.model.balance, last.accuracy, last.rounds
    return LabelModelFit(probabilities, balance, accuracy, rounds)


def prior_model(votable: np.ndarray, settings: FitSettings) -> LabelModel:
    """Returns the model from before any contact: what rules vote for, and their prior accuracy.

    `votable` is as in `fit_by_period`.
    """
    rules, values = votable.shape
    if settings.abstention_tells:
        balance = np.full(values, (1 - _PRIOR_ABSENCE) / (values - 1))
        balance[0] = _PRIOR_ABSENCE
    else:
        balance = np.full(values, 1 / values)
    odds = _odds(balance, settings.prior_accuracy)
    confusion = np.zeros((values, rules, values + 1))
    for value in range(values):
        hit = np.where(votable[:, value], _PRIOR_COVERAGE, _PRIOR_UNSHOWN)
        confusion[:, :, value] = hit / odds[value]
        confusion[value, :, value] = hit
    confusion[..., values] = 1 - confusion[..., :values].sum(axis=2)
    return LabelModel(balance, confusion, settings.abstention_tells)


def _model_of(
    patterns: np.ndarray,
    seen: np.ndarray,
    values: int,
    *,
    settings: FitSettings,
    votable: np.ndarray,
) -> LabelModel:
    """The model of contacts with `patterns`, of which `seen` [patterns] were before."""
    # Those not seen are left out, so that the fit is the one of a store that ends here.
    past = seen > 0
    if seen.sum() < _MIN_FITTED or (patterns[past, :-1] == ABSTAIN).all():
        return prior_model(votable, settings)
    return _fit(patterns[past], seen[past], values, settings, votable).model


@dataclass(frozen=True)
class _Fit:
    model: LabelModel
    probabilities: np.ndarray  # [patterns, values]
    accuracy: np.ndarray  # [rules]
    rounds: int


def _fit(
    patterns: np.ndarray,
    weights: np.ndarray,
    values: int,
    settings: FitSettings,
    votable: np.ndarray | None = None,
) -> _Fit:
    """Expectation maximisation on `patterns` [patterns, rules + 1], each with its weight."""
    answers = _one_hot(patterns[:, :-1], patterns[:, -1:].astype(bool), values)
    # Abstentions always count in the confusion, or a rule that knows one value only would seem to
    # give it to everybody; they are evidence about a contact only where value 0 means absence.
    evidence = answers.copy()
    evidence[..., values] *= settings.abstention_tells
    flat_answers = answers.reshape(len(answers), -1)
    flat_evidence = evidence.reshape(len(answers), -1)

    balance = _balance_of_votes(answers[..., :values], weights, settings.abstention_tells)
    prior = _prior(
        answers, weights, balance=balance, accuracy=settings.prior_accuracy, votable=votable
    )
    confusion = prior
    probabilities, rounds = _expect(flat_evidence, balance, prior), 0
    for rounds in range(1, settings.iterations + 1):  # noqa: B007 (returned to the caller)
        before = probabilities
        mass = weights[:, None] * probabilities
        size = mass.sum(axis=0)
        balance = (size + 1 / values) / (size.sum() + 1)
        counted = (mass.T @ flat_answers).reshape(values, patterns.shape[1] - 1, values + 1)
        confusion = _confusion(counted, prior, settings.prior_weight)
        probabilities = _expect(flat_evidence, balance, confusion)
        if np.abs(probabilities - before).max() < 1e-4:
            break
    model = LabelModel(balance, confusion, settings.abstention_tells)
    return _Fit(model, probabilities, _accuracy(answers, weights, probabilities), rounds)


def _checked(votes: np.ndarray, values: int) -> np.ndarray:
    votes = np.asarray(votes)
    if votes.size and (votes.max() >= values or votes.min() < ABSTAIN):
        raise ValueError(
            f"votes must lie in {ABSTAIN} … {values - 1}, found {votes.min()} … {votes.max()}."
        )
    return votes


def _patterns(votes: np.ndarray, readable: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Different rows of votes with `readable` as last column, and which of them each contact has.

    Contacts with the same votes have the same probabilities: each pattern is fitted once, with the
    number of its contacts as weight.
    """
    stacked = np.column_stack([votes, readable])
    patterns, pattern_of = np.unique(stacked, axis=0, return_inverse=True)
    return patterns, pattern_of.ravel()


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


def _odds(balance: np.ndarray, accuracy: float) -> np.ndarray:
    """How much likelier a vote for each value is where it is right than where it is wrong."""
    likelier = accuracy / (1 - accuracy) * np.maximum((1 - balance) / balance, len(balance) - 1)
    return np.asarray(likelier)


def _prior(
    answers: np.ndarray,
    weights: np.ndarray,
    *,
    balance: np.ndarray,
    accuracy: float,
    votable: np.ndarray | None = None,
) -> np.ndarray:
    """P(answer | value) [values, rules, answers] if votes were right with `accuracy`.

    This holds for votes for rare values as well, and with `votable` [rules, values] for those that
    nobody has cast yet.
    """
    values = len(balance)
    answered = np.einsum("p,pro->r", weights, answers)
    counted = np.einsum("p,pro->ro", weights, answers)[:, :values]
    if votable is not None:
        shown = np.where(votable, 1.0, _PRIOR_UNSHOWN / _PRIOR_COVERAGE)
        counted, answered = counted + _PSEUDO_VOTES * shown, answered + 1
    rates = counted / np.maximum(answered, 1)[:, None]
    prior = np.zeros((values, answers.shape[1], values + 1))
    odds = _odds(balance, accuracy)
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
    return _normalised(scores)


def _normalised(scores: np.ndarray) -> np.ndarray:
    """Probabilities [rows, values] from their logarithms up to a constant a row."""
    raised = np.exp(scores - scores.max(axis=1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=1, keepdims=True))


def _accuracy(answers: np.ndarray, weights: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    cast = answers[..., : probabilities.shape[1]]
    right = np.einsum("p,prv,pv->r", weights, cast, probabilities)
    total = np.einsum("p,prv->r", weights, cast)
    return np.where(total > 0, right / np.maximum(total, 1), np.nan)
