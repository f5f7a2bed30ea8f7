"""Lists labels and outcomes that are probably wrong, by out-of-fold models (confident learning).

Labels of contacts are checked by word patterns with a logistic regression, so a label is judged by
other words than the rules that gave it look for. Outcomes are checked by the customers' features.
The selection is that of evaluation.label_issues.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from data.progress import Progress
from evaluation.label_issues import label_issues
from evaluation.metrics.churn import outcomes_by_horizon
from evaluation.metrics.churn_references import logistic

if TYPE_CHECKING:
    from sklearn.linear_model import LogisticRegression

SCHEMA = {
    "about": pl.String,  # contact or customer
    "id": pl.String,
    "label": pl.String,
    "given": pl.String,
    "suggested": pl.String,
    "probability": pl.Float64,  # of the suggested value
    "margin": pl.Float64,  # over the probability of the given value
}
_MIN_ROWS = 10  # of a value, for a model to learn it
# Labels that follow from clocks and the history, not from words.
NOT_IN_WORDS = ("friction_long_wait", "friction_repeated_contact")


def find_label_issues(
    labels: pl.DataFrame,
    turns: pl.DataFrame,
    customers: pl.DataFrame,
    *,
    folds: int = 5,
    seed: int = 0,
    progress: Progress = lambda done, total: None,
) -> pl.DataFrame:
    """Returns labels of contacts that the words in them contradict, as SCHEMA, by margin.

    `labels` are as LABELS, `turns` as TURNS, `customers` (contact_id, customer_id) keeps a
    customer's contacts in one fold. Not checked are values on fewer than 10 contacts, contacts
    without words, and labels that words say nothing of (NOT_IN_WORDS).
    """
    texts = turns.group_by("contact_id").agg(pl.col("text").str.join(" ").alias("text"))
    owner = customers.select("contact_id", "customer_id").unique("contact_id")
    names = sorted(set(labels["label"].unique()) - set(NOT_IN_WORDS))
    issues = []
    for n, name in enumerate(names):
        progress(n, len(names))
        rows = (
            labels.filter(pl.col("label") == name)
            .join(texts, on="contact_id")
            .join(owner, on="contact_id")
        )
        counts = rows["value"].value_counts()
        values = sorted(counts.filter(pl.col("count") >= _MIN_ROWS)["value"].to_list())
        if len(values) < 2:
            continue
        rows = rows.filter(pl.col("value").is_in(values)).sort("contact_id")
        given = np.array([values.index(value) for value in rows["value"]])
        probabilities = _classify_texts(rows, given, len(values), folds=folds, seed=seed)
        scored = np.isfinite(probabilities).all(1)
        if scored.any():
            issues.append(
                _list_issues(
                    "contact",
                    name,
                    rows["contact_id"].to_numpy()[scored],
                    values=values,
                    given=given[scored],
                    probabilities=probabilities[scored],
                )
            )
    progress(len(names), len(names))
    return pl.concat([pl.DataFrame(schema=SCHEMA), *issues]).sort(
        "margin", descending=True, maintain_order=True
    )


def find_outcome_issues(
    features: pl.DataFrame, horizon_days: int, *, folds: int = 5, seed: int = 0
) -> pl.DataFrame:
    """Returns customers whose outcome by the horizon their features contradict, as SCHEMA.

    `features` is a feature frame. Of a customer with several as-of dates the one with the largest
    margin is listed.
    """
    names = [
        name
        for name in features.columns
        if name not in ("customer_id", "as_of", "split", "event", "time_days")
    ]
    dated = bool(features["time_days"].is_not_null().any())
    rows = features.filter(pl.col("event").is_not_null()).sort("customer_id", "as_of")
    left, weight = outcomes_by_horizon(rows, horizon_days if dated else None)
    rows, left = rows.filter(weight > 0), left[weight > 0]
    if not left.any() or left.all():
        return pl.DataFrame(schema=SCHEMA)
    risk = np.full(rows.height, np.nan)
    for train, held_out in _split_folds(rows["customer_id"].to_numpy(), folds, seed):
        part = rows[train.tolist()]
        if 0 < left[train].sum() < len(train):
            varied = [name for name in names if part[name].n_unique() > 1]
            horizons = (horizon_days,) if dated else ()
            risk[held_out] = (
                logistic(part, rows[held_out.tolist()], varied, horizons_days=horizons)
                .to_series(-1)
                .to_numpy()
            )
    scored = np.isfinite(risk)
    listed = _list_issues(
        "customer",
        f"left within {horizon_days} days" if dated else "left",
        rows["customer_id"].to_numpy()[scored],
        values=["no", "yes"],
        given=left[scored].astype(np.int64),
        probabilities=np.column_stack([1 - risk, risk])[scored],
    )
    return listed.unique("id", keep="first", maintain_order=True)


def _classify_texts(
    rows: pl.DataFrame, given: np.ndarray, n_values: int, *, folds: int, seed: int
) -> np.ndarray:
    """Returns out-of-fold probabilities [rows, values], NaN where a fold lacks a value."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    words = TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True).fit_transform(
        rows["text"].to_list()
    )
    probabilities = np.full((rows.height, n_values), np.nan)
    for train, held_out in _split_folds(rows["customer_id"].to_numpy(), folds, seed):
        if len(np.unique(given[train])) == n_values:
            classifier = _classifier().fit(words[train], given[train])
            probabilities[held_out] = classifier.predict_proba(words[held_out])
    return probabilities


def _list_issues(
    about: str,
    label: str,
    ids: np.ndarray,
    *,
    values: list[str],
    given: np.ndarray,
    probabilities: np.ndarray,
) -> pl.DataFrame:
    """Returns the rows whose given value is probably wrong, as SCHEMA."""
    if len(np.unique(given)) < len(values):
        return pl.DataFrame(schema=SCHEMA)
    issues = label_issues(given, probabilities)
    return pl.DataFrame(
        {
            "about": [about] * len(issues.rows),
            "id": [str(ids[row]) for row in issues.rows],
            "label": [label] * len(issues.rows),
            "given": [values[given[row]] for row in issues.rows],
            "suggested": [values[value] for value in issues.suggested],
            "probability": [
                float(probabilities[row, value])
                for row, value in zip(issues.rows, issues.suggested, strict=True)
            ],
            "margin": issues.margin,
        },
        schema=SCHEMA,
    )


def _split_folds(
    customer: np.ndarray, folds: int, seed: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields (train, held out) row numbers; a customer is in one fold only."""
    names, member = np.unique(customer.astype(str), return_inverse=True)
    fold = np.random.default_rng(seed).permutation(len(names)) % folds
    for number in range(folds):
        held_out = fold[member] == number
        if held_out.any() and not held_out.all():
            yield np.flatnonzero(~held_out), np.flatnonzero(held_out)


def _classifier() -> LogisticRegression:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=10.0, max_iter=300)
