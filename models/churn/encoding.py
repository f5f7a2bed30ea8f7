"""Encodes feature values as the churn network's inputs, by bins and categories of training rows.

Numbers enter by piecewise-linear encoding (Gorishniy et al., 2022), categories one-hot. Decayed
sums of past contacts (features with `carries`) enter as they are, because the network weighs and
adds them itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from data.features.features import Feature


class ChurnModelError(ValueError):
    """A frame does not fit the model, or a folder does not hold one."""


@dataclass(frozen=True, kw_only=True)
class Column:
    """One feature as the model takes it.

    `kind` is numeric (with bin edges, mean, std), carried (edges are its range) or categorical
    (with values; any other is unknown). `reference` is the value of a typical customer. A number
    that `advances` grows by one a day.
    """

    name: str
    kind: str
    group: str
    meaning: str
    reference: float | str | None
    edges: tuple[float, ...] = ()
    mean: float = 0.0
    std: float = 1.0
    has_missing: bool = False
    values: tuple[str | None, ...] = ()
    advances: bool = False


def describe_columns(
    frame: pl.DataFrame, features: Sequence[Feature], bins: int
) -> tuple[Column, ...]:
    """Returns each feature's column, from training rows, with at most `bins` bins a number.

    A feature that never varies is left out.
    """
    columns = []
    for feature in features:
        series = frame[feature.name]
        if series.n_unique() < 2:
            continue
        if feature.value_type == "categorical":
            counts = series.value_counts(sort=True)
            values = tuple(
                sorted(counts[feature.name].to_list(), key=lambda value: (value is None, value))
            )
            common = max(
                counts.drop_nulls(feature.name).iter_rows(), key=lambda row: (row[1], row[0])
            )[0]
            columns.append(
                Column(
                    name=feature.name,
                    kind="categorical",
                    group=feature.group,
                    meaning=feature.meaning,
                    reference=common,
                    values=values,
                )
            )
            continue
        numbers = series.to_numpy().astype(np.float64)
        finite = numbers[np.isfinite(numbers)]
        if len(finite) == 0:
            continue
        edges = np.unique(np.quantile(finite, np.linspace(0, 1, bins + 1)))
        if len(edges) < 3:
            # Nearly constant: all quantiles are one value, so the range makes the rest visible.
            edges = np.unique([finite.min(), *edges, finite.max()])
        kind = "carried" if feature.carries and finite.min() >= 0 else "numeric"
        columns.append(
            Column(
                name=feature.name,
                kind=kind,
                group=feature.group,
                meaning=feature.meaning,
                reference=float(np.median(finite)),
                edges=tuple(edges.tolist()),
                mean=float(finite.mean()),
                std=float(finite.std()) or 1.0,
                has_missing=kind == "numeric" and len(finite) < len(numbers),
                advances=feature.advances,
            )
        )
    return tuple(columns)


class Encoder:
    """Encodes feature values as the network's inputs [rows, width], carried columns last."""

    def __init__(self, columns: Sequence[Column]) -> None:
        self.columns = tuple(columns)
        self.numeric = [column for column in columns if column.kind == "numeric"]
        self.categorical = [column for column in columns if column.kind == "categorical"]
        self.carried = [column for column in columns if column.kind == "carried"]
        # One entry a bin, side by side: the column it belongs to, where it begins and how wide it
        # is.
        self._owned = np.array(
            [n for n, column in enumerate(self.numeric) for _ in column.edges[1:]], dtype=np.int64
        )
        self._low = np.array([edge for column in self.numeric for edge in column.edges[:-1]])
        self._width = np.array(
            [width for column in self.numeric for width in np.diff(column.edges)]
        )
        self._mean = np.array([column.mean for column in self.numeric])
        self._std = np.array([column.std for column in self.numeric])
        self._median = np.array([float(column.reference or 0) for column in self.numeric])
        self._flagged = np.array([column.has_missing for column in self.numeric], dtype=bool)
        self._most = np.array([column.edges[-1] for column in self.carried])
        # None is a value like any other where training had it. A value that training did not have
        # has the index after the last and no input.
        self._indices = [
            {value: n for n, value in enumerate(column.values)} for column in self.categorical
        ]
        self._starts = np.cumsum([0, *(len(column.values) for column in self.categorical)])
        place = {column.name: n for n, column in enumerate(self.columns)}
        numbers = np.array([place[column.name] for column in self.numeric], dtype=np.int64)
        # The column, by its place in `columns`, that each input belongs to.
        self.owner = np.concatenate(
            [
                numbers[self._owned],
                numbers,
                numbers[self._flagged],
                np.array(
                    [place[column.name] for column in self.categorical for _ in column.values],
                    dtype=np.int64,
                ),
                np.array([place[column.name] for column in self.carried], dtype=np.int64),
            ]
        )

    @property
    def bins(self) -> int:
        """Number of inputs that are bins of numbers; they come first."""
        return len(self._owned)

    @property
    def width(self) -> int:
        """Number of inputs, carried ones included."""
        return len(self.owner)

    def places(self, number: int) -> tuple[np.ndarray, int, int | None]:
        """Returns the inputs of the column `numeric[number]`.

        They are those of its bins, of its standard score, and of whether it is missing (None: it
        has no such input).
        """
        flag = self.bins + len(self.numeric) + int(self._flagged[:number].sum())
        return (
            np.flatnonzero(self._owned == number),
            self.bins + number,
            flag if self._flagged[number] else None,
        )

    def encode(self, numbers: np.ndarray, carried: np.ndarray, indices: np.ndarray) -> np.ndarray:
        """Returns float32 [rows, width] from arrays of values, each [rows, columns of its kind].

        `numbers` and `carried` are NaN where missing; `indices` are those of categories.
        """
        numbers = np.where(np.isfinite(numbers), numbers, np.nan)
        missing = np.isnan(numbers)
        numbers = np.where(missing & ~self._flagged, self._median, numbers)
        with np.errstate(over="ignore"):  # however large a number is, it ends in the last bin
            binned = np.clip((numbers[:, self._owned] - self._low) / self._width, 0, 1)
            standard = np.clip((numbers - self._mean) / self._std, -4, 4)
        inputs = np.zeros((len(numbers), self.width), dtype=np.float32)
        # Where bins, standard scores and flags of missing values end.
        bins_end, scores_end = binned.shape[1], binned.shape[1] + standard.shape[1]
        flags_end = scores_end + int(self._flagged.sum())
        inputs[:, :bins_end] = np.nan_to_num(binned)
        inputs[:, bins_end:scores_end] = np.nan_to_num(standard)
        inputs[:, scores_end:flags_end] = missing[:, self._flagged]
        for n, column in enumerate(self.categorical):
            rows = np.flatnonzero(indices[:, n] < len(column.values))
            inputs[rows, flags_end + self._starts[n] + indices[rows, n]] = 1.0
        carried = np.where(np.isfinite(carried), carried, 0.0)
        inputs[:, self.width - len(self.carried) :] = np.clip(carried, 0, self._most)
        return inputs

    def frame(self, frame: pl.DataFrame) -> np.ndarray:
        """Encodes a features frame as float32 [rows, width].

        Raises ChurnModelError naming a missing or unreadable column.
        """
        missing = [column.name for column in self.columns if column.name not in frame.columns]
        if missing:
            raise ChurnModelError(_missing(missing))
        indices = np.zeros((frame.height, len(self.categorical)), dtype=np.int64)
        for n, column in enumerate(self.categorical):
            index_of, unknown = self._indices[n], len(column.values)
            indices[:, n] = [
                index_of.get(value, unknown)
                for value in frame[column.name].cast(pl.String).to_list()
            ]
        return self.encode(_numbers(frame, self.numeric), _numbers(frame, self.carried), indices)

    def rows(self, customers: Sequence[Mapping[str, Any]]) -> np.ndarray:
        """Encodes customers given as mappings (None is missing) as float32 [customers, width].

        Raises ChurnModelError as `frame` does.
        """
        missing = [
            column.name
            for column in self.columns
            if any(column.name not in values for values in customers)
        ]
        if missing:
            raise ChurnModelError(_missing(missing))
        numbers, carried = (
            np.array(
                [
                    [_number(column.name, values[column.name]) for column in columns]
                    for values in customers
                ],
                dtype=np.float64,
            ).reshape(len(customers), len(columns))
            for columns in (self.numeric, self.carried)
        )
        indices = np.zeros((len(customers), len(self.categorical)), dtype=np.int64)
        for n, column in enumerate(self.categorical):
            index_of, unknown = self._indices[n], len(column.values)
            categories = [values[column.name] for values in customers]
            indices[:, n] = [
                index_of.get(None if value is None else str(value), unknown) for value in categories
            ]
        return self.encode(numbers, carried, indices)


def _numbers(frame: pl.DataFrame, columns: Sequence[Column]) -> np.ndarray:
    values = np.full((frame.height, len(columns)), np.nan)
    for n, column in enumerate(columns):
        try:
            values[:, n] = frame[column.name].cast(pl.Float64).fill_null(float("nan")).to_numpy()
        except pl.exceptions.PolarsError as error:
            raise ChurnModelError(
                f"churn model: column {column.name} is not numeric ({error})."
            ) from error
    return values


def _number(name: str, value: Any) -> float:
    if value is None:
        return float("nan")
    if isinstance(value, (int, float)):
        return float(value)
    raise ChurnModelError(f"churn model: column {name} is not numeric ({value!r}).")


def _missing(names: list[str]) -> str:
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return (
        f"churn model: no column {names[0]}{more}. "
        "Compute features with the parameters the model was trained with."
    )
