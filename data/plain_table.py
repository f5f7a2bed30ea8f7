"""Reads a table with a yes/no target, one row a customer, and names columns that are of no use."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

YES = frozenset({"yes", "y", "true", "t", "1", "1.0"})
NO = frozenset({"no", "n", "false", "f", "0", "0.0"})
_NUMBERS = 0.95  # a text column is one of numbers when this share of what is filled in are
# a text column with more different values tells single customers apart and is left out
_MOST_VALUES = 100


class TableError(ValueError):
    """A file is not a table to learn from or to score. The message says what to do."""


@dataclass(frozen=True)
class Columns:
    """How a table was read, kept with its model so that what is scored is read the same way."""

    target: str
    positive: str | None = None  # the value that means yes, where it does not say so itself
    id: str | None = None
    numeric: tuple[str, ...] = ()
    categorical: tuple[str, ...] = ()
    left_out: dict[str, str] = field(default_factory=dict)  # column → why

    @property
    def features(self) -> tuple[str, ...]:
        """The columns a model learns from."""
        return self.numeric + self.categorical


def read(path: Path) -> pl.DataFrame:
    """Reads a CSV, TSV or Parquet file.

    Raises TableError naming the file when it is none, or holds no row.
    """
    if not path.is_file():
        raise TableError(f"{path}: no such file.")
    try:
        if path.suffix.lower() in (".parquet", ".pq"):
            frame = pl.read_parquet(path)
        else:
            separator = "\t" if path.suffix.lower() == ".tsv" else _separator(path)
            frame = pl.read_csv(
                path, separator=separator, infer_schema_length=None, null_values=["", "NA", "NaN"]
            )
    except (pl.exceptions.PolarsError, UnicodeDecodeError) as error:
        reason = str(error).splitlines()[0] if str(error) else "it is empty"
        raise TableError(
            f"{path}: cannot be read as a table ({reason}). Give a CSV or Parquet file."
        ) from error
    if frame.is_empty():
        raise TableError(f"{path}: has no rows.")
    return frame


def target(frame: pl.DataFrame, column: str, positive: str | None = None) -> pl.Series:
    """Returns who is positive as bool, null where the target is.

    Reads yes/no, true/false, 1/0, or `positive` against the rest. Raises TableError when there
    is no such column, when it has not two values, or when neither of them is known to mean yes.
    """
    values = text(require(frame, column, "target"))
    distinct = sorted(values.drop_nulls().unique().to_list())
    if not distinct:
        raise TableError(
            f"column {column}: is empty in all {frame.height} rows, so there is nothing to learn."
        )
    if positive is not None:
        if positive not in distinct:
            raise TableError(
                f"column {column}: no row is {positive!r}. Its values: {_some(distinct)}."
            )
        yes = values == positive
    else:
        lowered = values.str.to_lowercase()
        is_yes_no = lowered.is_in(list(YES | NO))
        if not is_yes_no.fill_null(True).all():
            if len(distinct) > 2:
                raise TableError(
                    f"column {column}: has {len(distinct)} values ({_some(distinct)}), a target "
                    "has two. Name another column, or with --positive the value that means yes."
                )
            raise TableError(
                f"column {column}: says {_some(distinct)}. Name with --positive which of them "
                "means yes."
            )
        yes = lowered.is_in(list(YES))
    yes = pl.select(pl.when(values.is_not_null()).then(yes)).to_series().rename(column)
    if yes.n_unique() - (yes.null_count() > 0) < 2:
        every = distinct[0] if len(distinct) == 1 else ("yes" if yes.drop_nulls().all() else "no")
        raise TableError(
            f"column {column}: is {every} in every one of {yes.count()} rows, so there is nothing "
            "to tell apart."
        )
    return yes


def identifiers(frame: pl.DataFrame, column: str | None) -> pl.Series:
    """Returns the rows' ids, or their numbers from 1.

    Raises TableError naming one that is missing or duplicated.
    """
    if column is None:
        return pl.Series("customer_id", [f"row {n}" for n in range(1, frame.height + 1)])
    ids = frame[column].cast(pl.String) if column in frame.columns else require(frame, column, "id")
    if ids.null_count():
        row = ids.is_null().arg_max() or 0
        raise TableError(
            f"column {column}: {ids.null_count()} rows have no id, the first is row {row + 1}."
        )
    twice = ids.filter(ids.is_duplicated())
    if len(twice):
        raise TableError(
            f"column {column}: {twice.n_unique()} ids stand more than once, {twice[0]} "
            f"{(ids == twice[0]).sum()} times. A plain table has one row a customer; leave one of "
            "each, or name another --id."
        )
    return ids.rename("customer_id")


def columns_of(
    frame: pl.DataFrame,
    target: str,
    *,
    positive: str | None,
    id: str | None,
    exclude: Sequence[str],
) -> Columns:
    """Decides what each column is.

    Raises TableError when an excluded column is missing or no column is left.
    """
    for name in exclude:
        require(frame, name, "column to leave out")
    numeric, categorical, left_out = [], [], {}
    for name in frame.columns:
        if name in (target, id):
            continue
        series = frame[name]
        dtype = series.dtype
        if name in exclude:
            left_out[name] = "excluded"
        elif series.null_count() == len(series):
            left_out[name] = "empty"
        elif _is_id(series):
            left_out[name] = "different in every row and called an id"
        elif dtype.is_numeric():
            numeric.append(name)
        elif dtype == pl.Boolean or (dtype.is_temporal() and series.n_unique() < 2):
            categorical.append(name)
        elif dtype.is_temporal() or dtype.is_nested() or dtype == pl.Binary:
            left_out[name] = (
                f"{dtype} is neither a number nor a category; turn it into days, counts or words"
            )
        elif _is_numbers(text(series)):
            numeric.append(name)
        elif (values := text(series).n_unique()) > _MOST_VALUES:
            left_out[name] = f"{values} different values tell single customers apart"
        else:
            categorical.append(name)
    if not numeric and not categorical:
        raise TableError(
            "no column to learn from is left: "
            + "; ".join(f"{k} ({v})" for k, v in left_out.items())
        )
    return Columns(target, positive, id, tuple(numeric), tuple(categorical), left_out)


def values_of(frame: pl.DataFrame, columns: Columns) -> pl.DataFrame:
    """Returns the feature columns as Float64 and String, the same for every table.

    Raises TableError naming missing columns.
    """
    missing = [name for name in columns.features if name not in frame.columns]
    if missing:
        raise TableError(
            f"no column {_some(missing)}, which the model learned from. Deliver the columns it "
            "was trained with."
        )
    numbers = []
    for name in columns.numeric:
        try:
            numbers.append(
                frame[name].cast(pl.Float64, strict=frame[name].dtype != pl.String).alias(name)
            )
        except pl.exceptions.PolarsError as error:
            raise TableError(
                f"column {name}: is {frame[name].dtype}, the model learned it as a number."
            ) from error
    return pl.DataFrame([*numbers, *(text(frame[name]) for name in columns.categorical)])


def unseen_values(
    values: pl.DataFrame, trained_values: Mapping[str, Sequence[str | None]]
) -> dict[str, dict[str, int]]:
    """Returns how many rows have each value that training never saw, by column.

    Such values are scored as none of the trained ones.
    """
    new_values: dict[str, dict[str, int]] = {}
    for name, seen in trained_values.items():
        new = values[name].filter(
            ~values[name].is_in([v for v in seen if v is not None]) & values[name].is_not_null()
        )
        if len(new):
            new_values[name] = dict(new.value_counts(sort=True).iter_rows())
    return new_values


def text(series: pl.Series) -> pl.Series:
    """Returns values as trimmed text, null where blank; true and 1.0 are written as in a CSV."""
    if series.dtype.is_float():
        whole = series.cast(pl.Int64, strict=False)
        if (whole.cast(series.dtype) == series).fill_null(True).all():
            series = whole
    trimmed = series.cast(pl.String).str.strip_chars()
    return pl.select(pl.when(trimmed != "").then(trimmed)).to_series().rename(series.name)


def require(frame: pl.DataFrame, name: str, what: str) -> pl.Series:
    """Returns the column `name`. Raises TableError that names the nearest columns."""
    if name in frame.columns:
        return frame[name]
    near = difflib.get_close_matches(name, frame.columns, n=3, cutoff=0.4)
    hint = f"Did you mean {' or '.join(near)}?" if near else f"Columns: {_some(frame.columns)}."
    raise TableError(f"no column {name} for the {what}. {hint}")


def _is_id(series: pl.Series) -> bool:
    called = re.search(r"(^|[^a-z])id$|[a-z]I[Dd]$|^ID$", series.name) is not None
    return called and not series.dtype.is_float() and series.n_unique() == len(series)


def _is_numbers(values: pl.Series) -> bool:
    filled = values.drop_nulls()
    numbers = filled.cast(pl.Float64, strict=False).count()
    return len(filled) > 0 and numbers >= _NUMBERS * len(filled)


def _separator(path: Path) -> str:
    with path.open(encoding="utf-8", errors="replace") as handle:
        first = handle.readline()
    return max(",;\t|", key=first.count)


def _some(values: Sequence[Any], most: int = 8) -> str:
    shown = ", ".join(str(value) for value in values[:most])
    return shown + (f" and {len(values) - most} more" if len(values) > most else "")
