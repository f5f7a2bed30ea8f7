"""Puts a customer's contacts of all channels into one timeline with their texts."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from data.records import ORIGIN_MACHINE, ORIGIN_PERSON, ORIGIN_WRITTEN

# Origins of a contact's text, the most reliable first.
_BEST_ORIGIN = {ORIGIN_WRITTEN: 0, ORIGIN_PERSON: 1, ORIGIN_MACHINE: 2}


def best_text(turns: pl.DataFrame) -> pl.DataFrame:
    """Returns the turns of each contact's best origin, in order of contact and turn."""
    rank = pl.col("origin").replace_strict(
        _BEST_ORIGIN, default=len(_BEST_ORIGIN), return_dtype=pl.Int8
    )
    return turns.filter(rank == rank.min().over("contact_id")).sort("contact_id", "turn")


def timeline(tables: Mapping[str, pl.DataFrame], customer_id: str | None = None) -> pl.DataFrame:
    """Returns all contacts in order of customer and time, or those of one customer.

    `tables` are contacts, turns and recordings (schemas in `data.records`). Columns: those of
    CONTACTS, then `text` (turns as `role: text` lines, null where there is none), `turns`
    (their number), `customer_text` (that side alone) and `has_audio`.
    """
    contacts = tables["contacts"]
    if customer_id is not None:
        contacts = contacts.filter(pl.col("customer_id") == customer_id)
    texts = (
        best_text(tables["turns"].join(contacts.select("contact_id"), on="contact_id", how="semi"))
        .group_by("contact_id", maintain_order=True)
        .agg(
            pl.format("{}: {}", "role", "text").str.join("\n").alias("text"),
            pl.len().cast(pl.Int32).alias("turns"),
            pl.col("text")
            .filter(pl.col("role") == "customer")
            .str.join("\n")
            .alias("customer_text"),
        )
    )
    recorded = tables["recordings"].select("contact_id", pl.lit(True).alias("has_audio"))
    return (
        contacts.join(texts, on="contact_id", how="left")
        .join(recorded, on="contact_id", how="left")
        .with_columns(pl.col("has_audio").fill_null(False), pl.col("turns").fill_null(0))
        .sort("customer_id", "started_at", "contact_id")
    )
