"""Labels of contacts as rules and reader give them together."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from data.labelling.complete import ReadingParams, merge_with_reader

if TYPE_CHECKING:
    from models.reader.model import Reader


def with_reader(
    rules: pl.DataFrame,
    beliefs: pl.DataFrame,
    contacts: pl.DataFrame,
    turns: pl.DataFrame,
    reader: Reader | None,
    params: ReadingParams,
) -> pl.DataFrame:
    """The rules' labels completed by a reader: as features, and the gate's tests of what reads a text, want them."""
    if reader is None:
        return rules
    readable = contacts.join(turns, on="contact_id", how="semi")
    return merge_with_reader(
        rules, beliefs, reader.beliefs(readable, turns, params.min_familiar), params=params
    )
