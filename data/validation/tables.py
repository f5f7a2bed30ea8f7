"""Adds to each row what its expectations need: whether its customer is listed, and so on."""

from __future__ import annotations

import polars as pl

from data.records import KEYS, TABLES


def column_catalogue(tables: dict[str, pl.DataFrame]) -> pl.DataFrame:
    """Returns every column, expected or actual, with both types ("none" where there is none)."""
    rows = []
    for table, frame in tables.items():
        expected, actual = TABLES[table], dict(frame.schema)
        for column in [*expected, *(name for name in actual if name not in expected)]:
            rows.append(
                (table, column, str(expected.get(column, "none")), str(actual.get(column, "none")))
            )
    return pl.DataFrame(rows, schema=["table", "column", "expected", "actual"], orient="row")


def with_key(table: str, frame: pl.DataFrame) -> pl.DataFrame:
    """Adds `key`, one text a row made of the table's key columns; null where one is missing."""
    parts = [pl.col(name).cast(pl.String) for name in KEYS[table]]
    return frame.with_columns(key=pl.concat_str(parts, separator="\x1f"))


def with_parent(
    frame: pl.DataFrame, key: str, *, listed: pl.DataFrame, accepted: pl.DataFrame, what: str
) -> pl.DataFrame:
    """Adds `<what>_listed` and `<what>_accepted`: whether `key` is in these tables.

    `listed` is the parent table as delivered, `accepted` what passed of it. A row whose parent
    is not listed has null for accepted, so that each row is rejected for one thing only.
    """
    is_listed = pl.col(key).is_in(listed[key].implode()).fill_null(False)
    is_accepted = pl.col(key).is_in(accepted[key].implode()).fill_null(False)
    return frame.with_columns(
        pl.col(key).is_null().not_().and_(is_listed).alias(f"{what}_listed"),
        pl.when(is_listed).then(is_accepted).alias(f"{what}_accepted"),
    )


def recordings_in_order(recordings: pl.DataFrame, contacts: pl.DataFrame) -> pl.DataFrame:
    """Returns recordings, those of the earliest accepted contacts first.

    Of two equal recordings the earlier one then counts as the original.
    """
    starts = contacts.select("contact_id", "started_at").unique(
        "contact_id", keep="first", maintain_order=True
    )
    order = [
        pl.col("contact_accepted").fill_null(False).not_(),
        pl.col("started_at"),
        pl.col("contact_id"),
    ]
    return (
        recordings.join(starts, on="contact_id", how="left")
        .sort(order, nulls_last=True)
        .drop("started_at")
    )


def turns_with_overrun(turns: pl.DataFrame, recordings: pl.DataFrame) -> pl.DataFrame:
    """Adds `overrun_s`: by how much a turn ends after its recording; null where there is none."""
    lengths = recordings.select("contact_id", length_s="duration_s")
    return (
        turns.join(lengths, on="contact_id", how="left", maintain_order="left")
        .with_columns(overrun_s=pl.col("end_s") - pl.col("length_s"))
        .drop("length_s")
    )


def outcomes_with_since(outcomes: pl.DataFrame, customers: pl.DataFrame) -> pl.DataFrame:
    """Adds the customer's `since`, and whether a date is given only for what happened."""
    return with_since(outcomes, customers).with_columns(
        dated_only_if_happened=pl.col("on").is_null() | pl.col("happened").fill_null(True)
    )


def with_since(frame: pl.DataFrame, customers: pl.DataFrame) -> pl.DataFrame:
    """Adds the customer's `since`."""
    since = customers.select("customer_id", "since")
    return frame.join(since, on="customer_id", how="left", maintain_order="left")
