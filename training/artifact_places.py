"""Finds and rewrites where MLflow's database says that artifacts lie, after a store has moved.

MLflow keeps absolute places: of each experiment, run and version of a model. It has no relative
ones, as a relative path is taken from the current folder. The database is opened directly, so that
MLflow need not be imported to look.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

# Table, column: what MLflow 3 keeps of them. Those that a database does not have are passed over.
PLACES = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
    ("logged_models", "artifact_location"),
)
BUSY_S = 30.0  # how long to wait for another that writes
_IN_STORE = re.compile(r"(?:file://)?(?P<store>/.*)/mlartifacts/(?P<folder>[^/]+)")
_DEFAULT = re.compile(r"(?:file://)?(?P<place>/.*/mlruns/0)")  # MLflow's own, in a current folder


def former_stores(database: Path) -> set[Path]:
    """Returns other stores in which a store's experiments are said to lie, though they lie here.

    Artifacts that never were in a store's `mlartifacts` are not meant.
    """
    here = database.parent
    former = set()
    with _open(database) as connection:
        for (location,) in _rows(connection, "experiments", "artifact_location"):
            match = _IN_STORE.fullmatch(_unquoted(str(location)))
            if (
                match
                and Path(match["store"]) != here
                and (here / "mlartifacts" / match["folder"]).is_dir()
            ):
                former.add(Path(match["store"]))
    return former


def move_places(database: Path, old: Path, new: Path) -> int:
    """Replaces the folder `old` by `new` in all places, in one transaction; returns how many.

    MLflow's own experiment, which Keepline does not use, lies in `new` afterwards too.
    """
    changed = 0
    with _open(database) as connection, connection:
        for before, after in ((old.as_uri(), new.as_uri()), (str(old), str(new))):
            for table, column in PLACES:
                if _has(connection, table, column):
                    changed += connection.execute(
                        f"UPDATE {table} SET {column} = ? || substr({column}, ?) "
                        f"WHERE substr({column}, 1, ?) = ?",
                        (after, len(before) + 1, len(before) + 1, f"{before}/"),
                    ).rowcount
        for (location,) in _rows(connection, "experiments", "artifact_location"):
            if _DEFAULT.fullmatch(str(location)):
                changed += connection.execute(
                    "UPDATE experiments SET artifact_location = ? WHERE artifact_location = ?",
                    ((new / "mlartifacts" / "0").as_uri(), location),
                ).rowcount
    return changed


@contextmanager
def _open(database: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(database, timeout=BUSY_S)) as connection:
        yield connection


def _has(connection: sqlite3.Connection, table: str, column: str) -> bool:
    return any(row[1] == column for row in connection.execute(f"PRAGMA table_info({table})"))


def _rows(connection: sqlite3.Connection, table: str, column: str) -> list[tuple[object]]:
    if not _has(connection, table, column):
        return []
    return connection.execute(f"SELECT {column} FROM {table}").fetchall()


def _unquoted(location: str) -> str:
    from urllib.parse import unquote

    return unquote(location) if location.startswith("file://") else location
