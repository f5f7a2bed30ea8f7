"""Trains the churn model on a plain table: one row a customer, a yes/no target, no dates.

What is reported was never trained on: either a held-out share of the rows, or, with folds, every row by a model that
had not seen it. With folds the labels that are probably wrong are named as well (evaluation.suspects).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from data.features.features import Feature
from data.plain_table import Columns, TableError
from data.progress import Progress
from training.churn.learnable import leaking_features
from training.churn.train import TABLE, ChurnTraining, train

LEAST = 10  # rows of each kind in training; from fewer nothing can be told


@dataclass(frozen=True)
class TableFit:
    """How a table is divided and learned from."""

    seed: int = 0  # of the division, and of all that is random in training
    test_share: float = 0.2  # held out to report on, where there are no folds
    valid_share: float = 0.125  # of the rest: to choose the number of passes, and to calibrate
    folds: int = (
        0  # so many models, each reported on the rows it did not see; 0 holds out test_share once
    )
    allow_leaks: bool = False  # learn from columns that alone nearly decide the target
    churn: ChurnTraining = TABLE

    def __post_init__(self) -> None:
        """Raises ValueError for a number of folds that leaves nothing to learn from."""
        if self.folds == 1:
            raise ValueError(
                "folds: one fold leaves nothing to learn from. Give 0 (hold rows out once) or 2 and more."
            )


@dataclass(frozen=True)
class TableResult:
    """The model's folder, predictions of rows their model had not seen (customer_id, event, risk, …), and a summary."""

    model: Path
    predictions: pl.DataFrame
    summary: dict[str, Any]


class Unrecorded:
    """A run that nobody reads: what is worth keeping is in the summary."""

    run_id = "none"

    def log_params(self, params: dict[str, Any]) -> None: ...

    def log_metrics(self, metrics: dict[str, float], step: int) -> None: ...


def fit_table(
    values: pl.DataFrame,
    event: pl.Series,
    ids: pl.Series,
    *,
    columns: Columns,
    fit: TableFit,
    work: Path,
    progress: Progress = lambda done, total: None,
) -> TableResult:
    """Trains on rows whose `event` is known and writes the model under `work`.

    `values` holds the feature columns as data.plain_table.values_of gives them. Raises TableError when there is too
    little of anything, or a column alone nearly decides the target.
    """
    known = event.is_not_null()
    rows = to_churn_rows(values.filter(known), ids.filter(known)).with_columns(
        event.filter(known).alias("event")
    )
    yes = int(rows["event"].sum())
    least = min(yes, rows.height - yes)
    if least < 2 * LEAST:
        raise TableError(
            f"column {columns.target}: only {least} rows are {'yes' if yes == least else 'no'}, "
            f"{2 * LEAST} are needed. Deliver more rows of that kind."
        )
    names = [f"attr_{name}" for name in columns.features]
    found = leaking_features(rows, names, fit.churn.leak_auc)
    if found and not fit.allow_leaks:
        name, auc = found[0]
        name = name.removeprefix("attr_")
        raise TableError(
            f"column {name}: alone tells {columns.target} almost without error (AUC {auc:.3f}), as only what is known "
            f"afterwards can. Leave it out with --exclude {name}, or say --allow-leaks if it is known beforehand."
        )
    params = replace(fit.churn, seed=fit.seed, leak_auc=1.0, min_customers=0, min_events=0)
    declared = [
        _feature(name, "numeric" if name in columns.numeric else "categorical")
        for name in columns.features
    ]
    shares = [1 / fit.folds] * fit.folds if fit.folds else [fit.test_share]
    part = _divided(rows["event"].to_numpy(), shares, fit.seed)
    fits = fit.folds + 1 if fit.folds else 1
    predictions, model, trained = [], work, {}
    for n in range(fits):
        held = part == n  # nobody, for the last model after folds
        inner = _divided(rows["event"].to_numpy(), [fit.valid_share], fit.seed + 1 + n, where=~held)
        split = np.where(held, "test", np.where(inner == 0, "valid", "train"))
        model = work / f"fit-{n}"
        trained = train(
            params,
            rows.with_columns(pl.Series("split", split)),
            model,
            run=Unrecorded(),
            progress=_part_of(progress, n, fits),
            declared=declared,
        )
        if held.any():
            predictions.append(_predicted(Path(trained["model"]), rows.filter(held)))
    summary = {**trained, "leaks_allowed": dict(found), "unknown_target": int((~known).sum())}
    return TableResult(Path(trained["model"]), pl.concat(predictions), summary)


def to_churn_rows(values: pl.DataFrame, ids: pl.Series) -> pl.DataFrame:
    """Rows as the churn model takes them: attr_<column>, customer_id, and no dates."""
    return values.rename({name: f"attr_{name}" for name in values.columns}).with_columns(
        ids.alias("customer_id"),
        pl.lit(None, pl.Date).alias("as_of"),
        pl.lit(None, pl.Float64).alias("time_days"),
    )


def find_target_issues(predictions: pl.DataFrame) -> tuple[pl.DataFrame, float]:
    """Rows whose target is probably wrong, most suspect first, and the share of all that is estimated to be.

    `predictions` are out of fold: customer_id, event, risk. Returns customer_id, given, suggested, risk, margin.
    """
    from evaluation.label_issues import label_issues

    risk, given = predictions["risk"].to_numpy(), predictions["event"].to_numpy().astype(np.int64)
    found = label_issues(given, np.column_stack([1 - risk, risk]))
    listed = predictions[found.rows.tolist()].select(
        "customer_id", pl.col("event").alias("given"), "risk"
    )
    return listed.with_columns(
        pl.Series("suggested", found.suggested == 1), pl.Series("margin", found.margin)
    ), found.noise_share


def _feature(name: str, kind: str) -> Feature:
    """Every column is a group of reasons by itself."""
    words = name.replace("_", " ")
    return Feature(f"attr_{name}", words, words, kind)


def _part_of(progress: Progress, number: int, parts: int) -> Progress:
    return lambda done, total: progress(number * total + done, parts * total)


def _predicted(model: Path, rows: pl.DataFrame) -> pl.DataFrame:
    from models.churn.model import ChurnModel

    risks = ChurnModel.load(model).predict(rows)
    return rows.select("customer_id", "as_of", "event", "time_days").with_columns(risks["risk"])


def _divided(
    event: np.ndarray, shares: list[float], seed: int, where: np.ndarray | None = None
) -> np.ndarray:
    """The part of each row, numbered from 0, -1 for the rest: drawn apart among those who left and who stayed."""
    part = np.full(len(event), -1)
    rng = np.random.default_rng(seed)
    for kind in (False, True):
        rows = rng.permutation(np.flatnonzero((event == kind) & (True if where is None else where)))
        ends = np.round(np.cumsum(shares) * len(rows)).astype(int)
        for n, (a, b) in enumerate(zip([0, *ends[:-1]], ends, strict=True)):
            part[rows[a:b]] = n
    return part
