"""Lets every rule vote on every contact and combines the votes, label by label."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from data.labelling.analysis import label_statistics, rule_statistics
from data.labelling.discover import Rule, cast_vote, find_rules
from data.labelling.label_model import ABSTAIN, LabelModelFit, fit_label_model
from data.labelling.scheme import ABSENT, SCHEME, LabellingParams
from data.labelling.view import views
from data.progress import Progress
from data.records import LABELS


@dataclass(frozen=True)
class LabelResult:
    """labels: LABELS, at most one row a contact and label; analysis: JSON, see `label`.

    beliefs: LABELS too, with a row for every value of each label the rules know something about,
    also where no value is likely enough to be given: what a reader learns from.
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
    """Labels `contacts` (CONTACTS) from what was said in them (TURNS) and from their channel, waits and history.

    A contact gets its likeliest value of a label where that has `min_probability` and a rule voted. For labels about
    something being there or not (frictions, barriers) finding no sign in a contact one could read is enough. Rules are
    those in data/labelling/rules unless given. No clock, no chance: equal inputs give equal labels.

    analysis: {"contacts", "readable", "rules": {name: {"label", "about", "values", "coverage", "overlap", "conflict",
    "accuracy"}}, "labels": {label: {"coverage", "conflict", "labelled", "mean_probability", "class_balance"}}};
    `accuracy` is the label model's estimate of how often the rule's votes are right.
    """
    params = params or LabellingParams()
    rules = find_rules() if rules is None else rules
    votes = vote_all(contacts, turns, params=params, rules=rules, progress=progress)
    readable = contacts["contact_id"].is_in(turns["contact_id"].implode()).to_numpy()
    ids = contacts["contact_id"]
    labels, beliefs, label_entries, rule_entries = [], [], {}, {}
    for name, values in SCHEME.items():
        rule_numbers = [number for number, rule in enumerate(rules) if rule.label == name]
        if not rule_numbers:
            continue
        label_votes = votes[:, rule_numbers]
        fitted = fit_label_model(
            label_votes,
            len(values),
            readable=readable,
            abstention_tells=values[0] in ABSENT,
            prior_accuracy=params.prior_accuracy,
            prior_weight=params.prior_weight,
            iterations=params.iterations,
        )
        voted = (label_votes != ABSTAIN).any(axis=1)
        is_supported = voted | (readable & voted.any()) if values[0] in ABSENT else voted
        is_likely = fitted.probabilities.max(axis=1, initial=0.0) >= params.min_probability
        given = is_supported & is_likely
        label_entries[name] = label_statistics(values, label_votes, fitted=fitted, given=given)
        for column, shares in enumerate(rule_statistics(label_votes)):
            rule = rules[rule_numbers[column]]
            rule_entries[rule.name] = _rule_entry(
                rule, label_votes[:, column], shares=shares, accuracy=fitted.accuracy[column]
            )
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
    """Votes [contacts, rules]: the number of the value in the rule's label, or ABSTAIN."""
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


def _rule_entry(
    rule: Rule, votes: np.ndarray, *, shares: dict[str, float], accuracy: float
) -> dict[str, Any]:
    values = [SCHEME[rule.label][number] for number in np.unique(votes[votes != ABSTAIN])]
    estimated = None if np.isnan(accuracy) else float(accuracy)
    return {
        "label": rule.label,
        "about": rule.about,
        "values": values,
        **shares,
        "accuracy": estimated,
    }


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
    """A row for each value of each contact that rules `known` [contacts] something about."""
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
