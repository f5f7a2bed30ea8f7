"""Combines labels of the rules with those of the reader into one set for everything after.

The rules see queue, wrap-up code, waits and history, the reader every word; their errors are of
different kinds, so for some labels the two together are right more often than either
(docs/decisions/0013-rules-and-reader-together.md).
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from data.labelling.scheme import SCHEME
from data.records import LABELS

TOGETHER = "label_model+reader"
KEY = ["contact_id", "label"]
# least probability of a value when the two are combined: rules and reader are overconfident
_LEAST = 1e-4


@dataclass(frozen=True)
class ReadingParams:
    """What the active reader adds to the rules' labels; section `reading` of params.yaml."""

    # labels that get the geometric mean of the rules' and the reader's probabilities
    together: tuple[str, ...] = (
        "friction_repeated_contact",
        "friction_unresolved",
        "sentiment",
        "barrier",
    )
    # labels the reader gives alone where no rule knows anything
    gaps: tuple[str, ...] = ("reason",)
    min_probability: float = 0.5  # a label less likely is not given
    # share of a text's n-grams known from training; below it the reader is not used
    min_familiar: float = 0.5
    # read all contacts anew by the active reader, also those of the past: to see what a reader
    # changes for churn. What was known on past days is lost by it
    read_again: bool = False

    def __post_init__(self) -> None:
        """Raises ValueError for a label nobody knows."""
        unknown = sorted({*self.together, *self.gaps} - set(SCHEME))
        if unknown:
            raise ValueError(f"reading: {unknown[0]} is no label. Labels are {', '.join(SCHEME)}.")


def merge_with_reader(
    rules: pl.DataFrame, beliefs: pl.DataFrame, read: pl.DataFrame, *, params: ReadingParams
) -> pl.DataFrame:
    """Returns the labels of `rules` (LABELS) with those the reader adds, one a contact and label.

    `beliefs` and `read` are the probabilities of every value (LABELS), of the rules and of the
    reader; `read` holds the contacts the reader can read.
    """
    both = (
        beliefs.filter(pl.col("label").is_in(params.together))
        .join(
            read.select(*KEY, "value", pl.col("probability").alias("reader")),
            on=[*KEY, "value"],
            how="inner",
        )
        .with_columns(
            (pl.col("probability").clip(_LEAST) * pl.col("reader").clip(_LEAST))
            .sqrt()
            .alias("probability")
        )
        .with_columns(
            (pl.col("probability") / pl.col("probability").sum().over(KEY)).alias("probability"),
            pl.lit(TOGETHER).alias("origin"),
        )
    )
    alone = read.filter(pl.col("label").is_in(params.gaps)).join(beliefs, on=KEY, how="anti")
    candidates = (
        pl.concat([frame.select(list(LABELS)) for frame in (both, alone)])
        .sort("probability", "value", descending=[True, False])
        .unique(KEY, keep="first", maintain_order=True)
    )
    confident = candidates.filter(pl.col("probability") >= params.min_probability).sort(
        "label", "contact_id"
    )
    return pl.concat([rules.join(both, on=KEY, how="anti"), confident])
