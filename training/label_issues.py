"""Lists labels and outcomes that are probably wrong, by models that had not seen them (evaluation.suspects).

Labels of contacts are doubted by what was said: character and word patterns with a logistic regression, so a label that
its own rules gave is judged by other words than they look for. Outcomes are doubted by the customers' features.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import polars as pl

from data.progress import Progress
from evaluation.label_issues import label_issues
from evaluation.metrics.churn import outcomes_by_horizon
from evaluation.metrics.churn_references import logistic

SCHEMA = {
    "about": pl.String,
    "id": pl.String,
    "label": pl.String,
    "given": pl.String,
    "suggested": pl.String,
    "probability": pl.Float64,
    "margin": pl.Float64,
}
_LEAST = 10  # rows a value needs for a model to know it
UNSAID = (
    "friction_long_wait",
    "friction_repeated_contact",
)  # known from clocks and the history, not from words


def suspect_labels(
    labels: pl.DataFrame,
    turns: pl.DataFrame,
    customers: pl.DataFrame,
    folds: int = 5,
    seed: int = 0,
    progress: Progress = lambda done, total: None,
) -> pl.DataFrame:
    """Labels of contacts (LABELS) that what was said in them (TURNS) speaks against, most suspect first, as SCHEMA.

    `customers` (contact_id, customer_id) keeps a customer's contacts in one fold. Values on fewer than 10 contacts
    are not judged, nor are contacts without words, nor labels that words say nothing of (UNSAID).
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    texts = turns.group_by("contact_id").agg(pl.col("text").str.join(" ").alias("text"))
    owner = customers.select("contact_id", "customer_id").unique("contact_id")
    names = sorted(set(labels["label"].unique()) - set(UNSAID))
    found = []
    for n, name in enumerate(names):
        progress(n, len(names))
        rows = (
            labels.filter(pl.col("label") == name)
            .join(texts, on="contact_id")
            .join(owner, on="contact_id")
        )
        counts = rows["value"].value_counts()
        values = sorted(counts.filter(pl.col("count") >= _LEAST)["value"].to_list())
        rows = rows.filter(pl.col("value").is_in(values)).sort("contact_id")
        if len(values) < 2:
            continue
        given = np.array([values.index(value) for value in rows["value"]])
        words = TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True).fit_transform(
            rows["text"].to_list()
        )
        believed = np.full((rows.height, len(values)), np.nan)
        for train, held in _folds(rows["customer_id"].to_numpy(), folds, seed):
            if len(np.unique(given[train])) == len(values):
                believed[held] = (
                    _logistic().fit(words[train], given[train]).predict_proba(words[held])
                )
        judged = np.isfinite(believed).all(1)
        if judged.any():
            listed = _listed(
                "contact",
                name,
                rows["contact_id"].to_numpy()[judged],
                values,
                given[judged],
                believed[judged],
            )
            found.append(listed)
    progress(len(names), len(names))
    return _together(found)


def suspect_outcomes(
    features: pl.DataFrame, horizon_days: int, folds: int = 5, seed: int = 0
) -> pl.DataFrame:
    """Customers whose leaving or staying by the horizon their features speak against, as SCHEMA.

    `features` is what data.features made. Of a customer with several as-of dates the most suspect one is listed.
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
    for train, held in _folds(rows["customer_id"].to_numpy(), folds, seed):
        known = rows[train.tolist()]
        if 0 < left[train].sum() < len(train):
            varied = [name for name in names if known[name].n_unique() > 1]
            horizons = (horizon_days,) if dated else ()
            risk[held] = (
                logistic(known, rows[held.tolist()], varied, horizons_days=horizons)
                .to_series(-1)
                .to_numpy()
            )
    judged = np.isfinite(risk)
    name = f"left within {horizon_days} days" if dated else "left"
    listed = _listed(
        "customer",
        name,
        rows["customer_id"].to_numpy()[judged],
        ["no", "yes"],
        left[judged].astype(np.int64),
        np.column_stack([1 - risk, risk])[judged],
    )
    return listed.unique("id", keep="first", maintain_order=True)


def _listed(
    about: str,
    label: str,
    ids: np.ndarray,
    values: list[str],
    given: np.ndarray,
    believed: np.ndarray,
) -> pl.DataFrame:
    if len(np.unique(given)) < len(values):
        return pl.DataFrame(schema=SCHEMA)
    found = label_issues(given, believed)
    return pl.DataFrame(
        {
            "about": [about] * len(found.rows),
            "id": [str(ids[row]) for row in found.rows],
            "label": [label] * len(found.rows),
            "given": [values[given[row]] for row in found.rows],
            "suggested": [values[value] for value in found.suggested],
            "probability": [
                float(believed[row, v]) for row, v in zip(found.rows, found.suggested, strict=True)
            ],
            "margin": found.margin,
        },
        schema=SCHEMA,
    )


def _folds(customer: np.ndarray, folds: int, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(train, held) row numbers; a customer is in one fold only."""
    names, member = np.unique(customer.astype(str), return_inverse=True)
    fold = np.random.default_rng(seed).permutation(len(names)) % folds
    for number in range(folds):
        held = fold[member] == number
        if held.any() and not held.all():
            yield np.flatnonzero(~held), np.flatnonzero(held)


def _logistic():  # type: ignore[no-untyped-def]  # scikit-learn has no types
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=10.0, max_iter=300)


def _together(found: list[pl.DataFrame]) -> pl.DataFrame:
    return pl.concat([pl.DataFrame(schema=SCHEMA), *found]).sort(
        "margin", descending=True, maintain_order=True
    )
