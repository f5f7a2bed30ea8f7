"""What a night measures of new contacts' words: unknown words, and what they are about."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from data import artefacts
from data.files import read_tables, write_table
from data.progress import Progress
from data.records import TURNS
from data.text import normalise
from evaluation.monitoring.observed import Observed
from models.kinds import READER

if TYPE_CHECKING:
    from flows.runtime.context import RunContext
    from models.registry.bundle import Bundle

_LEAST_WORDS = 3  # of a contact; the share of unknown ones in fewer says nothing


def observe(
    context: RunContext, bundle: Bundle, contacts: pl.DataFrame, progress: Progress
) -> Observed:
    """Returns channel, reason and share of unknown words of `contacts`."""
    clean = read_tables(context.path(artefacts.CLEAN))
    turns = _turns(context, clean["turns"])
    known = _vocabulary(context, bundle, contacts, clean["contacts"], turns)
    table = contacts.join(clean["contacts"].select("contact_id", "channel"), on="contact_id").join(
        _unknown_share(turns.join(contacts, on="contact_id", how="semi"), known),
        on="contact_id",
        how="left",
    )
    labels = context.path(artefacts.LABELS)
    if labels.exists():
        reasons = (
            pl.read_parquet(labels)
            .filter(pl.col("label") == "reason")
            .join(contacts, on="contact_id", how="semi")
            .unique("contact_id", keep="first", maintain_order=True)
            .select("contact_id", pl.col("value").alias("reason"))
        )
        table = table.join(reasons, on="contact_id", how="left")
    return Observed(table)


def _turns(context: RunContext, clean: pl.DataFrame) -> pl.DataFrame:
    """Returns the customers' turns: as people wrote them, else as the recogniser heard them."""
    transcripts = context.path(artefacts.TRANSCRIPTS)
    turns = clean
    if transcripts.exists():
        heard = pl.read_parquet(transcripts).select(list(TURNS))
        turns = pl.concat([clean, heard.join(clean, on="contact_id", how="anti")])
    return turns.filter(pl.col("role") == "customer")


def _words(turns: pl.DataFrame) -> pl.DataFrame:
    """Returns contact_id and word, a row a word."""
    plain = [normalise(text or "") for text in turns["text"].to_list()]
    return (
        turns.select("contact_id")
        .with_columns(pl.Series("word", plain, pl.String).str.split(" "))
        .explode("word")
        .filter(pl.col("word") != "")
    )


def _vocabulary(
    context: RunContext,
    bundle: Bundle,
    reference: pl.DataFrame,
    contacts: pl.DataFrame,
    turns: pl.DataFrame,
) -> pl.DataFrame:
    """Returns the words of the contacts before the reference period, frozen when first asked for.

    Words of the reference itself would all be known, and those of every night after it would not.
    """
    path = context.path(
        artefacts.MONITORING.within(READER.name, bundle.sha256[:16], "words.parquet")
    )
    if path.exists():
        return pl.read_parquet(path)
    first = reference["day"].min()
    before = contacts.filter(pl.col("started_at").dt.date() < pl.lit(first)).select("contact_id")
    words = _words(turns.join(before, on="contact_id", how="semi")).select("word").unique()
    write_table(path, words.sort("word"))
    return words


def _unknown_share(turns: pl.DataFrame, known: pl.DataFrame) -> pl.DataFrame:
    """Returns contact_id and unknown_words, the share of words that are not `known`."""
    if known.is_empty():
        return pl.DataFrame(schema={"contact_id": pl.String, "unknown_words": pl.Float64})
    words = _words(turns).join(
        known.with_columns(pl.lit(True).alias("known")), on="word", how="left"
    )
    shares = words.group_by("contact_id").agg(
        pl.col("known").is_null().mean().alias("unknown_words"), pl.len().alias("count")
    )
    return shares.filter(pl.col("count") >= _LEAST_WORDS).drop("count")
