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

if TYPE_CHECKING:
    from flows.runtime.context import RunContext

SEEN = ""  # stands in the log for "came in"; else the kind of model that was scored on it
BEFORE = ""  # the day of what was there before the first night
_SCHEMA = {"contact_id": pl.String, "what": pl.String, "day": pl.String}
_LEARNED = {"customer_id": pl.String, "voice": pl.String}


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


def learned_before(context: RunContext, folder: Path, night: Night) -> pl.DataFrame:
    """Returns customers and voices that a version may have learned from; frozen at its first night.

    They are those on the training side among the contacts that earlier nights have seen.
    """
    path, splits = folder / "learned.parquet", context.path(artefacts.SPLITS)
    if path.exists():
        return pl.read_parquet(path)
    if not splits.exists():
        return pl.DataFrame(schema=_LEARNED)
    train = pl.read_parquet(splits).filter(pl.col("split") == "train")
    voices = read_tables(context.path(artefacts.CLEAN))["recordings"].select("contact_id", "voice")
    old = night.old()
    learned = (
        old.join(train.drop_nulls("contact_id"), on="contact_id", how="semi")
        .join(voices, on="contact_id", how="left")
        .select(list(_LEARNED))
    )
    customers = train.filter(pl.col("contact_id").is_null()).select("customer_id")
    customers = customers.join(old, on="customer_id", how="semi")
    both = pl.concat([learned, customers.with_columns(pl.lit(None, pl.String).alias("voice"))])
    both = both.unique().sort("customer_id", "voice")
    write_table(path, both)
    return both


def familiar(context: RunContext, units: pl.DataFrame, learned: pl.DataFrame) -> pl.Series:
    """Returns, of each unit of a scorecard, whether its customer or voice is among `learned`."""
    customers = set(learned["customer_id"].drop_nulls())
    voices = set(learned["voice"].drop_nulls())
    owners: dict[str, str] = {}
    if "customer_id" not in units.columns and "contact_id" in units.columns:
        contacts = read_tables(context.path(artefacts.CLEAN))["contacts"]
        owners = dict(contacts.select("contact_id", "customer_id").iter_rows())
    known = [
        row.get("customer_id", owners.get(row.get("contact_id", ""), "")) in customers
        or row["cluster"] in voices
        or row["cluster"] in customers
        for row in units.select(
            [n for n in ("customer_id", "contact_id", "cluster") if n in units.columns]
        ).iter_rows(named=True)
    ]
    return pl.Series("familiar", known, pl.Boolean)
