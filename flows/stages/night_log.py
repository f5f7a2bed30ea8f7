"""Remembers which contacts a night has seen and scored, and what each champion has learned from."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from data import artefacts
from data.files import read_tables, write_table
from models.registry.learned import Learned

if TYPE_CHECKING:
    from flows.runtime.context import RunContext

SEEN = ""  # stands in the log for "came in"; else the kind of model that was scored on it
BEFORE = ""  # the day of what was there before the first night
_SCHEMA = {"contact_id": pl.String, "what": pl.String, "day": pl.String}


@dataclass(frozen=True)
class Night:
    """One night: its day, the store's contacts (contact_id, customer_id, day), and the log."""

    day: str
    contacts: pl.DataFrame
    log: pl.DataFrame

    def new(self) -> pl.DataFrame:
        """Returns the contacts that no earlier night has seen."""
        return self.contacts.join(self._earlier(SEEN), on="contact_id", how="anti")

    def old(self) -> pl.DataFrame:
        """Returns the contacts that an earlier night has seen."""
        return self.contacts.join(self._earlier(SEEN), on="contact_id", how="semi")

    def unscored(self, kind: str) -> list[str]:
        """Returns the contacts on which no earlier night has scored a model of this kind.

        Truth may come days after its contact, so it is not the day of the contact that counts.
        """
        scored = self._earlier(kind)
        if scored.is_empty():  # the kind is newer than the log
            scored = self._earlier(SEEN)
        return self.contacts.join(scored, on="contact_id", how="anti")["contact_id"].to_list()

    def _earlier(self, what: str) -> pl.DataFrame:
        return self.log.filter((pl.col("what") == what) & (pl.col("day") < self.day))

    def with_entries(self, what: str, contacts: Iterable[str]) -> Night:
        """Returns the night with today's entries of one sort in place of those there were."""
        kept = self.log.filter((pl.col("what") != what) | (pl.col("day") != self.day))
        rows = [(contact, what, self.day) for contact in sorted(set(contacts))]
        return Night(
            self.day, self.contacts, pl.concat([kept, pl.DataFrame(rows, _SCHEMA, orient="row")])
        )


def open_night(context: RunContext, kinds: Collection[str], until: date | None) -> Night:
    """Returns tonight. On the first night all contacts `until` a day (None: all) count as seen."""
    contacts = (
        read_tables(context.path(artefacts.CLEAN))["contacts"]
        .select("contact_id", "customer_id", pl.col("started_at").dt.date().alias("day"))
        .sort("contact_id")
    )
    path, day = _path(context), context.now().date().isoformat()
    if path.exists():
        return Night(day, contacts, pl.read_parquet(path))
    before = contacts if until is None else contacts.filter(pl.col("day") <= pl.lit(until))
    log = pl.concat(
        [
            before.select("contact_id", pl.lit(what).alias("what"), pl.lit(BEFORE).alias("day"))
            for what in (SEEN, *kinds)
        ]
    )
    return Night(day, contacts, log)


def close_night(context: RunContext, night: Night) -> None:
    """Writes the log, with what came in tonight."""
    write_table(_path(context), night.with_entries(SEEN, night.new()["contact_id"].to_list()).log)


def _path(context: RunContext) -> Path:
    return context.path(artefacts.MONITORING.within("contacts.parquet"))


def learned_before(context: RunContext, folder: Path, night: Night) -> Learned:
    """Returns what a version may have learned from whose bundle does not say; frozen at once.

    Those are the customers and voices on the training side among what earlier nights have seen.
    """
    path, splits = folder / "learned.parquet", context.path(artefacts.SPLITS)
    if not path.exists():
        if not splits.exists():
            return Learned.of()
        train = pl.read_parquet(splits).filter(pl.col("split") == "train")
        recordings = read_tables(context.path(artefacts.CLEAN))["recordings"]
        old = night.old()
        calls = (
            old.join(train.drop_nulls("contact_id"), on="contact_id", how="semi")
            .join(recordings.select("contact_id", "voice"), on="contact_id", how="left")
            .select("customer_id", "voice")
        )
        customers = train.filter(pl.col("contact_id").is_null()).join(
            old, on="customer_id", how="semi"
        )
        both = pl.concat(
            [calls, customers.select("customer_id", pl.lit(None, pl.String).alias("voice"))]
        )
        write_table(path, both.unique().sort("customer_id", "voice"))
    rows = pl.read_parquet(path)
    return Learned.of(customers=rows["customer_id"], voices=rows["voice"])


def familiar(context: RunContext, units: pl.DataFrame, learned: Learned) -> pl.Series:
    """Returns, of each unit of a scorecard, whether its customer, voice or contact was learned from.

    Clusters are customers, or voices where no customer is known.
    """
    named = units.select(n for n in ("customer_id", "contact_id", "cluster") if n in units.columns)
    if "customer_id" not in named.columns and "contact_id" in named.columns:
        contacts = read_tables(context.path(artefacts.CLEAN))["contacts"]
        named = named.join(
            contacts.select("contact_id", "customer_id"),
            on="contact_id",
            how="left",
            maintain_order="left",
        )
    clusters = pl.DataFrame({"customer_id": named["cluster"], "voice": named["cluster"]})
    return (learned.seen(named) | learned.seen(clusters)).alias("familiar")
