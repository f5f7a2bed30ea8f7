"""The split ledger: who was ever on which side of the split, since when. Rows are only added.

It is one Parquet file with a digest over its rows, written whole or not at all. Whoever is in it
keeps the side, so nobody who was once examined is ever trained on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import polars as pl

from data.files import atomic
from data.splits import EXCLUDED, SPLITS, LeakError

CUSTOMER, VOICE, CONTACT = WHAT = ("customer", "voice", "contact")
SCHEMA = {"what": pl.String, "id": pl.String, "split": pl.String, "since": pl.String}
_DIGEST = "keepline.sha256"
_COLUMN_OF = {CUSTOMER: "customer_id", VOICE: "voice_group", CONTACT: "contact_id"}


class LedgerError(ValueError):
    """The split ledger is damaged, or was changed by something else than a division."""


@dataclass(frozen=True)
class SplitLedger:
    """Sides of customers, voices and contacts: a row of `SCHEMA` each, in the order they came."""

    rows: pl.DataFrame

    @classmethod
    def empty(cls) -> SplitLedger:
        """Returns the ledger of a store that was never divided."""
        return cls(pl.DataFrame(schema=SCHEMA))

    def sides(self, what: str) -> dict[str, str]:
        """Returns the side of every `what` (customer, voice, contact) by its id."""
        return dict(self.rows.filter(pl.col("what") == what).select("id", "split").iter_rows())

    def counts(self) -> dict[str, dict[str, int]]:
        """Returns how many customers, voices and contacts are on each side."""
        counted = self.rows.group_by("what", "split").len()
        of = {(what, side): count for what, side, count in counted.iter_rows()}
        return {what: {side: of.get((what, side), 0) for side in SPLITS} for what in WHAT}

    def extended(self, sides: Mapping[str, Mapping[str, str]], now: datetime) -> SplitLedger:
        """Returns the ledger with the ids of `sides` (what → id → split) that it did not have.

        A side that is none of train, valid and test is not recorded: it says nothing about use.
        Raises LeakError naming an id that has another side already.
        """
        since, added = now.isoformat(timespec="seconds"), []
        for what in WHAT:
            known = self.sides(what)
            for name, side in sorted(sides.get(what, {}).items()):
                if side not in SPLITS:
                    continue
                if known.get(name, side) != side:
                    raise LeakError(
                        f"{what} {name}: was in {known[name]} and would be in {side} now. Sides "
                        "never change; divide with data.split_history.divide."
                    )
                if name not in known:
                    added.append((what, name, side, since))
        if not added:
            return self
        new = pl.DataFrame(added, schema=SCHEMA, orient="row")
        return SplitLedger(pl.concat([self.rows, new]))


def sides_of(splits: pl.DataFrame) -> dict[str, dict[str, str]]:
    """Returns what → id → split of everyone in a frame of `data.splits.split`.

    Contacts, customers and voices that are on no side are left out.
    """
    used = splits.filter(pl.col("split") != EXCLUDED)
    return {
        what: dict(used.drop_nulls(column).select(column, "split").unique().iter_rows())
        for what, column in _COLUMN_OF.items()
    }


def read_ledger(path: Path) -> SplitLedger:
    """Reads the split ledger; an empty one where there is no file.

    Raises LedgerError when the file is damaged or its rows are not those it was written with.
    """
    if not path.exists():
        return SplitLedger.empty()
    advice = (
        "Restore it from a backup of the store. Without it nobody knows who was examined, so do "
        "not delete it."
    )
    try:
        rows = pl.read_parquet(path, glob=False)
        digest = pl.read_parquet_metadata(path).get(_DIGEST, "")
    except (pl.exceptions.PolarsError, OSError) as error:
        raise LedgerError(f"{path}: cannot be read ({error}). {advice}") from error
    if dict(rows.schema) != SCHEMA:
        raise LedgerError(f"{path}: is not a split ledger. {advice}")
    if digest != _digest(rows):
        raise LedgerError(f"{path}: its rows are not those it was written with. {advice}")
    return SplitLedger(rows)


def write_ledger(path: Path, ledger: SplitLedger) -> None:
    """Writes the ledger atomically. Raises LedgerError where it lacks rows that the file has."""
    before = read_ledger(path).rows
    if not ledger.rows.head(before.height).equals(before):
        raise LedgerError(
            f"{path}: holds {before.height} rows that would be lost or changed. Rows are only "
            "added; divide again."
        )
    if ledger.rows.height == before.height and path.exists():
        return
    with atomic(path) as temporary:
        ledger.rows.write_parquet(temporary, metadata={_DIGEST: _digest(ledger.rows)})


def assert_kept(splits: pl.DataFrame, ledger: SplitLedger) -> None:
    """Raises LeakError naming someone in `splits` who was once on another side."""
    for what, sides in sides_of(splits).items():
        known = ledger.sides(what)
        moved = sorted(name for name, side in sides.items() if known.get(name, side) != side)
        if moved:
            name = moved[0]
            raise LeakError(
                f"{what} {name}: was in {known[name]} and is in {sides[name]} now, {len(moved)} "
                "such in all. Divide again (`keepline run`); move nobody by hand."
            )


def _digest(rows: pl.DataFrame) -> str:
    """SHA-256 over all cells in order, each with its length."""
    return _digest_of(cell or "" for row in rows.iter_rows() for cell in row)


def _digest_of(cells: Iterable[str]) -> str:
    digest = hashlib.sha256()
    for cell in cells:
        encoded = cell.encode()
        digest.update(b"%d:" % len(encoded))
        digest.update(encoded)
    return digest.hexdigest()
