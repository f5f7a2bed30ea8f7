"""What readers made of contacts, each read once by the reader in use then, and kept.

A reader released later does not read the past anew: what was known of a contact on a past day would
change with it, and with that the features that churn is learned from. A contact is read again where
its text has changed (docs/decisions/0019-as-known-then.md).
"""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import TYPE_CHECKING, Any

import polars as pl

from data.records import LABELS, UTC

if TYPE_CHECKING:
    from models.reader.model import Reader

# Beside these, a column `<label>=<value>` with its probability for each value of each label.
READINGS: dict[str, Any] = {
    "contact_id": pl.String,
    "text_sha256": pl.String,  # of what was read
    "familiar": pl.Float64,  # share of its n-grams that the reader knew
    "model": pl.String,  # which reader
    "read_at": UTC,
}
# A contact read so long after it began was read by a reader that may have learned from later ones.
LATE_DAYS = 31


def update_readings(
    kept: pl.DataFrame | None,
    contacts: pl.DataFrame,
    turns: pl.DataFrame,
    *,
    reader: Reader | None,
    model: str,
    now: datetime,
) -> pl.DataFrame:
    """Returns the readings (READINGS) of `contacts` that have turns, in order of contact_id.

    Those in `kept` stay as they are while the text is the same. The others are read by `reader`;
    None reads nothing. `model` and `now` say by whom and when.
    """
    texts = _text_hashes(contacts, turns)
    kept = pl.DataFrame(schema=READINGS) if kept is None else kept
    kept = kept.join(texts, on=["contact_id", "text_sha256"], how="semi")
    if reader is None:
        return kept.sort("contact_id")
    new = contacts.join(texts, on="contact_id").join(kept, on="contact_id", how="anti")
    new = new.sort("contact_id")
    if new.is_empty():
        return kept.sort("contact_id")
    probabilities, familiar = reader.probabilities(new, turns)
    read = new.select(
        "contact_id",
        "text_sha256",
        familiar=pl.Series(familiar),
        model=pl.lit(model),
        read_at=pl.lit(now, dtype=UTC),
    ).with_columns(
        pl.Series(f"{label}={value}", values[:, number])
        for label, values in probabilities.items()
        for number, value in enumerate(reader.config.labels[label])
    )
    return pl.concat([kept, read], how="diagonal").sort("contact_id")


def beliefs_of(
    readings: pl.DataFrame, labels: tuple[str, ...], min_familiar: float
) -> pl.DataFrame:
    """Returns LABELS, a row for each value of `labels`, of the readings familiar enough."""
    columns = [
        name
        for name in readings.columns
        if name not in READINGS and name.partition("=")[0] in labels
    ]
    parts = [
        readings.filter(pl.col("familiar") >= min_familiar, pl.col(name).is_not_null()).select(
            "contact_id",
            pl.lit(name.partition("=")[0]).alias("label"),
            pl.lit(name.partition("=")[2]).alias("value"),
            pl.col(name).alias("probability"),
            pl.lit("reader").alias("origin"),
        )
        for name in columns
    ]
    return pl.concat(parts) if parts else pl.DataFrame(schema=LABELS)


def summarize(readings: pl.DataFrame, contacts: pl.DataFrame) -> dict[str, Any]:
    """Returns how many contacts each reader has read, and how many more than LATE_DAYS later."""
    dated = readings.select("contact_id", "model", "read_at").join(contacts, on="contact_id")
    late = pl.col("read_at") - pl.col("started_at") > pl.duration(days=LATE_DAYS)
    return {
        "read_by": dict(dated.group_by("model").len().sort("model").iter_rows()),
        "read_late": int(dated.select(late.sum()).item() or 0),
    }


def _text_hashes(contacts: pl.DataFrame, turns: pl.DataFrame) -> pl.DataFrame:
    """contact_id and text_sha256 of each contact that has turns."""
    texts = (
        turns.join(contacts, on="contact_id", how="semi")
        .sort("contact_id", "turn", "origin")
        .group_by("contact_id", maintain_order=True)
        .agg(pl.format("{}\x1f{}\x1f{}", "origin", "role", "text").str.join("\x1e").alias("text"))
    )
    hashes = [hashlib.sha256(text.encode()).hexdigest() for text in texts["text"]]
    return texts.select("contact_id").with_columns(pl.Series("text_sha256", hashes, pl.String))
