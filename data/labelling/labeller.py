"""Lets every rule vote on every contact and combines the votes, label by label."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import polars as pl

from data.labelling.analysis import label_statistics, rule_statistics
from data.labelling.discover import Rule, cast_vote, find_rules
from data.labelling.label_model import (
    ABSTAIN,
    FitSettings,
    LabelModelFit,
    fit_by_period,
    fit_label_model,
)
from data.labelling.scheme import ABSENT, SCHEME, LabellingParams
from data.labelling.view import views
from data.progress import Progress
from data.records import LABELS


@dataclass(frozen=True)
class LabelResult:
    """Labels, their analysis and beliefs.

    labels: LABELS, at most one row a contact and label; analysis: JSON, see `label`. beliefs:
    LABELS too, with a row for every value of each label that rules support, also where no value
    is likely enough to be given: the targets of the reader's training.
    """

    labels: pl.DataFrame
    analysis: dict[str, Any]
    beliefs: pl.DataFrame


def label(
    contacts: pl.DataFrame,
    turns: pl.DataFrame,
    params: LabellingParams | None = None,
    *,
    rules: Sequence[Rule] | None = None,
    progress: Progress = lambda done, total: None,
) -> LabelResult:
    """Labels `contacts` (CONTACTS) from their `turns` (TURNS), channel, waits and history.

    A contact gets its likeliest value of a label where that has `min_probability` and a rule
    voted. For labels about presence or absence (frictions, barriers), rules that find no sign
    in a readable contact are enough. Rules are those in data/labelling/rules unless given.
    Deterministic: equal inputs give equal labels. With `params.walk_forward` a contact's labels
    depend on contacts of months before its own, and never on later ones.

    analysis: {"contacts", "readable", "rules": {name: {"label", "about", "values", "coverage",
    "overlap", "conflict", "accuracy"}}, "labels": {label: {"coverage", "conflict", "labelled",
    "mean_probability", "class_balance"}}}; `accuracy` is the label model's estimate of how
    often the rule's votes are right. It and `class_balance` are of the model fitted on all contacts.
    """
    params = params or LabellingParams()
    rules = find_rules() if rules is None else rules
    votes = vote_all(contacts, turns, params=params, rules=rules, progress=progress)
    readable = contacts["contact_id"].is_in(turns["contact_id"].implode()).to_numpy()
    ids = contacts["contact_id"]
    labels, beliefs, label_entries = [], [], {}
    rule_entries: dict[str, dict[str, Any]] = {}
    for name, values in SCHEME.items():
        columns = [number for number, rule in enumerate(rules) if rule.label == name]
        if not columns:
            continue
        label_votes = votes[:, columns]
        own_rules = [rules[column] for column in columns]
        fitted = _fit(
            contacts, label_votes, name, rules=own_rules, readable=readable, params=params
        )
        voted = (label_votes != ABSTAIN).any(axis=1)
        # Whether a rule ever voted is known only at the end.
        is_silence_told = readable & (params.walk_forward or voted.any())
        is_supported = voted | is_silence_told if values[0] in ABSENT else voted
        is_likely = fitted.probabilities.max(axis=1, initial=0.0) >= params.min_probability
        given = is_supported & is_likely
        label_entries[name] = label_statistics(values, label_votes, fitted=fitted, given=given)
        rule_entries |= _rule_entries(own_rules, label_votes, fitted)
        labels.append(_label_rows(ids, name, values=values, fitted=fitted, given=given))
        beliefs.append(
            _belief_rows(ids, name, values=values, fitted=fitted, is_supported=is_supported)
        )
    analysis = {
        "contacts": len(contacts),
        "readable": int(readable.sum()),
        "rules": rule_entries,
        "labels": label_entries,
    }
    return LabelResult(_concat(labels), analysis, _concat(beliefs))


def _fit(
    contacts: pl.DataFrame,
    votes: np.ndarray,
    name: str,
    *,
    rules: Sequence[Rule],
    readable: np.ndarray,
    params: LabellingParams,
) -> LabelModelFit:
    """The label model of one label, whose `rules` cast `votes` [contacts, rules]."""
    values = SCHEME[name]
    settings = FitSettings(
        values[0] in ABSENT, params.prior_accuracy, params.prior_weight, params.iterations
    )
    if not params.walk_forward:
        return fit_label_model(votes, len(values), readable=readable, **asdict(settings))
    started = contacts["started_at"].dt
    return fit_by_period(
        votes,
        len(values),
        period=(12 * started.year() + started.month()).to_numpy(),
        votable=np.array([[value in rule.values for value in values] for rule in rules]),
        readable=readable,
        settings=settings,
    )


def _concat(frames: list[pl.DataFrame]) -> pl.DataFrame:
    return pl.concat(frames) if frames else pl.DataFrame(schema=LABELS)


def vote_all(
    contacts: pl.DataFrame,
    turns: pl.DataFrame,
    *,
    params: LabellingParams,
    rules: Sequence[Rule],
    progress: Progress = lambda done, total: None,
) -> np.ndarray:
    """Returns votes [contacts, rules]: the number of the value in the rule's label, or ABSTAIN."""
    numbers = [{value: number for number, value in enumerate(SCHEME[rule.label])} for rule in rules]
    votes = np.full((len(contacts), len(rules)), ABSTAIN, np.int8)
    for row, contact in enumerate(views(contacts, turns, params)):
        if row % 1000 == 0:
            progress(row, len(contacts))
        for column, rule in enumerate(rules):
            value = cast_vote(rule, contact)
            if value is not None:
                votes[row, column] = numbers[column][value]
    progress(len(contacts), len(contacts))
    return votes


def _rule_entries(
    rules: Sequence[Rule], votes: np.ndarray, fitted: LabelModelFit
) -> dict[str, dict[str, Any]]:
    """The analysis of the rules of one label by name; `votes` are [contacts, rules]."""
    entries = {}
    for column, (rule, shares) in enumerate(zip(rules, rule_statistics(votes), strict=True)):
        cast = votes[:, column][votes[:, column] != ABSTAIN]
        accuracy = float(fitted.accuracy[column])
        entries[rule.name] = {
            "label": rule.label,
            "about": rule.about,
            "values": [SCHEME[rule.label][number] for number in np.unique(cast)],
            **shares,
            "accuracy": None if np.isnan(accuracy) else accuracy,
        }
    return entries


def _label_rows(
    ids: pl.Series, name: str, *, values: tuple[str, ...], fitted: LabelModelFit, given: np.ndarray
) -> pl.DataFrame:
    best, chosen = (
        fitted.probabilities.max(axis=1, initial=0.0),
        fitted.probabilities.argmax(axis=1),
    )
    return pl.DataFrame(
        {
            "contact_id": ids.filter(pl.Series(given)),
            "label": name,
            "value": [values[number] for number in chosen[given]],
            "probability": best[given],
            "origin": "label_model",
        },
        schema=LABELS,
    )


def _belief_rows(
    ids: pl.Series,
    name: str,
    *,
    values: tuple[str, ...],
    fitted: LabelModelFit,
    is_supported: np.ndarray,
) -> pl.DataFrame:
    """A row for each value of each contact for which `is_supported` [contacts] is true."""
    supported_ids = ids.filter(pl.Series(is_supported))
    return pl.concat(
        pl.DataFrame(
            {
                "contact_id": supported_ids,
                "label": name,
                "value": value,
                "probability": fitted.probabilities[is_supported, number],
                "origin": "label_model",
            },
            schema=LABELS,
        )
        for number, value in enumerate(values)
    )
