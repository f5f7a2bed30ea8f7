"""Labels of contacts by labelling rules and contact reader together."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from data.labelling.complete import ReadingParams, merge_with_reader

if TYPE_CHECKING:
    from models.reader.model import Reader


def complete_labels(
    rules: pl.DataFrame,
    beliefs: pl.DataFrame,
    *,
    contacts: pl.DataFrame,
    turns: pl.DataFrame,
    reader: Reader | None,
    params: ReadingParams,
) -> pl.DataFrame:
    """Returns the rules' labels, completed by a reader where there is one.

    Features and the gate's downstream checks use these labels. `beliefs` are the rules'
    probabilities; only contacts with turns are read.
    """
    if reader is None:
        return rules
    readable = contacts.join(turns, on="contact_id", how="semi")
    return merge_with_reader(
        rules, beliefs, reader.beliefs(readable, turns, params.min_familiar), params=params
    )
