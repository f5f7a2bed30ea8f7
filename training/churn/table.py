"""Trains the churn model on a plain table: one row a customer, a yes/no target, no dates.

Reported predictions are always out of sample: of a held-out share of the rows or, with folds, of
every row by a model that was not trained on it. With folds, targets that are probably wrong are
listed as well (evaluation.label_issues).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from data.features.features import Feature
from data.plain_table import Columns, TableError
from data.progress import Progress
from data.record_leaks import leaking_values
from training.churn.learnable import leaking_features
from training.churn.settings import TABLE, ChurnTraining
from training.churn.train import train
from training.run import UnrecordedRun

MIN_ROWS = 10  # of each target value in training; fewer cannot be learnt from


@dataclass(frozen=True)
class TableFit:
    """How a table is split and trained on."""

    seed: int = 0  # of the split, and of all that is random in training
    test_share: float = 0.2  # held out to report on, where there are no folds
    valid_share: float = 0.125  # of the rest: to choose the number of epochs, and to calibrate
    # So many models, each reported on the rows it was not trained on; 0 holds out test_share once.
    folds: int = 0
    allow_leaks: bool = False  # train on columns that alone nearly decide the target
    churn: ChurnTraining = TABLE

    def __post_init__(self) -> None:
        """Raises ValueError for a number of folds that leaves nothing to train on."""
        if self.folds == 1:
            raise ValueError(
                "folds: one fold leaves nothing to learn from. Give 0 (hold rows out once) or 2 "
                "and more."
            )


@dataclass(frozen=True)
class TableResult:
    """What training on a table gave."""

    model: Path  # its folder
    predictions: pl.DataFrame  # out of sample: customer_id, as_of, event, time_days, risk
    summary: dict[str, Any]


def fit_table(
    values: pl.DataFrame,
    event: pl.Series,
    ids: pl.Series,
    *,
    columns: Columns,
    params: TableFit,
    work_dir: Path,
    progress: Progress = lambda done, total: None,
) -> TableResult:
    """Trains on the rows whose `event` is known and writes the model under `work_dir`.

    `values` holds the feature columns as data.plain_table.values_of returns them. Raises TableError
    when there is too little of anything, or a column alone nearly decides the target.
    """
    known = event.is_not_null()
    rows = to_churn_rows(values.filter(known), ids.filter(known)).with_columns(
        event.filter(known).alias("event")
    )
    leaks, leaking = _check_rows(rows, columns, params)
    churn = replace(params.churn, seed=params.seed, leak_auc=1.0, min_customers=0, min_events=0)
    declared = [
        _feature(name, "numeric" if name in columns.numeric else "categorical")
        for name in columns.features
    ]
    n_fits = params.folds + 1 if params.folds else 1
    predictions: list[pl.DataFrame] = []
    summary: dict[str, Any] = {}
    for number, split in enumerate(_splits(rows["event"].to_numpy(), params)):
        summary = train(
            churn,
            rows.with_columns(pl.Series("split", split)),
            work_dir / f"fit-{number}",
            run=UnrecordedRun(),
            progress=_part_of(progress, number, n_fits),
            declared=declared,
        )
        held_out = split == "test"
        if held_out.any():
            predictions.append(_predict(Path(summary["model"]), rows.filter(held_out)))
    summary |= {
        "leaks_allowed": dict(leaks),
        "leaking_values_allowed": leaking,
        "unknown_target": int((~known).sum()),
    }
    return TableResult(Path(summary["model"]), pl.concat(predictions), summary)


def to_churn_rows(values: pl.DataFrame, ids: pl.Series) -> pl.DataFrame:
    """Returns rows as the churn model takes them: attr_<column>, customer_id, and no dates."""
    return values.rename({name: f"attr_{name}" for name in values.columns}).with_columns(
        ids.alias("customer_id"),
        pl.lit(None, pl.Date).alias("as_of"),
        pl.lit(None, pl.Float64).alias("time_days"),
    )


def find_target_issues(predictions: pl.DataFrame) -> tuple[pl.DataFrame, float]:
    """Returns rows whose target is probably wrong, and the estimated share of such rows.

    `predictions` are out of fold: customer_id, event, risk. Rows hold customer_id, given,
    suggested, risk and margin, the largest margin first.
    """
    from evaluation.label_issues import label_issues

    risk, given = predictions["risk"].to_numpy(), predictions["event"].to_numpy().astype(np.int64)
    issues = label_issues(given, np.column_stack([1 - risk, risk]))
    listed = predictions[issues.rows.tolist()].select(
        "customer_id", pl.col("event").alias("given"), "risk"
    )
    return listed.with_columns(
        pl.Series("suggested", issues.suggested == 1), pl.Series("margin", issues.margin)
    ), issues.noise_share


def _check_rows(
    rows: pl.DataFrame, columns: Columns, params: TableFit
) -> tuple[list[tuple[str, float]], list[str]]:
    """Returns leaking columns and values that are allowed; raises TableError for others.

    Few rows of either target are refused as well.
    """
    n_yes = int(rows["event"].sum())
    least = min(n_yes, rows.height - n_yes)
    if least < 2 * MIN_ROWS:
        raise TableError(
            f"column {columns.target}: only {least} rows are {'yes' if n_yes == least else 'no'}, "
            f"{2 * MIN_ROWS} are needed. Deliver more rows of that kind."
        )
    names = [f"attr_{name}" for name in columns.features]
    leaks = leaking_features(rows, names, params.churn.leak_auc)
    if leaks and not params.allow_leaks:
        name, auc = leaks[0]
        name = name.removeprefix("attr_")
        raise TableError(
            f"column {name}: alone tells {columns.target} almost without error (AUC {auc:.3f}), as "
            "only what is known afterwards can. Leave it out with --exclude "
            f"{name}, or say --allow-leaks if it is known beforehand."
        )
    shifted = leaking_values(rows.filter(pl.col("event")), rows.filter(~pl.col("event")), names)
    if shifted and not params.allow_leaks:
        name = shifted[0].column.removeprefix("attr_")
        raise TableError(
            f"column {shifted[0].describe()}, as only what is written down afterwards can be. Leave "
            f"it out with --exclude {name}, or say --allow-leaks if it is known beforehand."
        )
    return leaks, [value.describe() for value in shifted]


def _splits(event: np.ndarray, params: TableFit) -> Iterator[np.ndarray]:
    """Yields the split of each row for every fit; after folds a last one that tests nothing."""
    shares = [1 / params.folds] * params.folds if params.folds else [params.test_share]
    part = _stratified(event, shares, params.seed)
    for number in range(params.folds + 1 if params.folds else 1):
        held_out = part == number
        valid = _stratified(event, [params.valid_share], params.seed + 1 + number, where=~held_out)
        yield np.where(held_out, "test", np.where(valid == 0, "valid", "train"))


def _feature(name: str, value_type: str) -> Feature:
    """Returns a column's description; every column is a group of reasons by itself."""
    words = name.replace("_", " ")
    return Feature(f"attr_{name}", words, words, value_type)


def _part_of(progress: Progress, number: int, parts: int) -> Progress:
    return lambda done, total: progress(number * total + done, parts * total)


def _predict(model: Path, rows: pl.DataFrame) -> pl.DataFrame:
    from models.churn.model import ChurnModel

    risks = ChurnModel.load(model).predict(rows)
    return rows.select("customer_id", "as_of", "event", "time_days").with_columns(risks["risk"])


def _stratified(
    event: np.ndarray, shares: list[float], seed: int, *, where: np.ndarray | None = None
) -> np.ndarray:
    """Returns the part of each row, numbered from 0, -1 for the rest: int [rows].

    Rows are drawn separately among those who left and who stayed.
    """
    part = np.full(len(event), -1)
    rng = np.random.default_rng(seed)
    for value in (False, True):
        candidates = (event == value) & (True if where is None else where)
        rows = rng.permutation(np.flatnonzero(candidates))
        ends = np.round(np.cumsum(shares) * len(rows)).astype(int)
        for n, (begin, end) in enumerate(zip([0, *ends[:-1]], ends, strict=True)):
            part[rows[begin:end]] = n
    return part
