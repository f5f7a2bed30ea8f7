"""Writes and reads artefacts; a file is written whole or not at all (tmp, fsync, rename)."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import polars as pl

from data.records import TABLES

LONGEST_NAME = 120  # bytes of a file name made of an id; file systems take 255


@contextmanager
def atomic(path: Path, flush: bool = True) -> Iterator[Path]:
    """Yields a temporary file that takes the name `path` on success and is removed on failure.

    It is flushed to disk first. Without `flush` a power cut may leave the name with nothing in
    it: use that for thousands of small files that can be told from whole ones and are made
    again.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        yield temporary
        if flush:
            _flush(temporary)
        temporary.replace(path)
        if flush:
            _flush(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def file_name(identity: str, suffix: str = "") -> str:
    """Returns a name for the file of something with this id, the same for the same id.

    It stays inside its folder whatever the id holds: what is no letter, digit, dot, hyphen or
    underscore is quoted, so is a dot in front. A long name ends in a hash of the id instead.
    """
    name = quote(identity, safe="", errors="surrogatepass")
    if name.startswith("."):
        name = f"%2E{name[1:]}"
    if len(name) > LONGEST_NAME:
        digest = hashlib.sha256(identity.encode("utf-8", "surrogatepass")).hexdigest()[:32]
        name = f"{name[:60]}-{digest}"
    return name + suffix


def write_text(path: Path, text: str) -> None:
    """Writes `text` as UTF-8 atomically."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Writes `value` as indented JSON with sorted keys, atomically.

    Dates and paths become strings.
    """
    write_text(
        path, json.dumps(value, indent=1, sort_keys=True, default=str, ensure_ascii=False) + "\n"
    )


def read_json(path: Path) -> Any:
    """Reads one JSON document. Raises ValueError naming the file when it is not JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(
            f"{path}: not valid JSON ({error}). Delete it and run its step again."
        ) from error


def read_lines(path: Path) -> list[Any]:
    """Reads JSON lines and returns their values; empty lines are skipped.

    Raises ValueError naming the file and line that is not JSON.
    """
    rows = []
    # Line by line: str.splitlines would also cut at the line separators (U+2028, U+0085) that JSON
    # strings may hold.
    with path.open(encoding="utf-8") as handle:
        for number, line in enumerate(handle, 1):
            if line.strip():
                try:
                    rows.append(json.loads(line))
                except json.JSONDecodeError as error:
                    raise ValueError(f"{path}, line {number}: not valid JSON ({error}).") from error
    return rows


def write_lines(path: Path, rows: Iterable[Any]) -> None:
    """Writes one JSON document a line, atomically."""
    write_text(
        path, "".join(json.dumps(row, ensure_ascii=False, default=str) + "\n" for row in rows)
    )


def write_table(path: Path, frame: pl.DataFrame) -> None:
    """Writes a Parquet table atomically."""
    with atomic(path) as temporary:
        frame.write_parquet(temporary)


def write_parts(path: Path, parts: Iterable[pl.DataFrame]) -> int:
    """Writes tables of one schema as one Parquet table, atomically; returns the number of rows.

    One table is in memory at a time.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    rows, files = 0, []
    with (
        tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder,
        atomic(path) as temporary,
    ):
        for number, part in enumerate(parts):
            files.append(Path(folder) / f"{number:05}.parquet")
            part.write_parquet(files[-1])
            rows += part.height
        pl.scan_parquet(files).sink_parquet(temporary, row_group_size=100_000)
    return rows


def scan_tables(folder: Path) -> dict[str, pl.LazyFrame]:
    """Returns the record tables in `folder` as lazy frames; a table without a file is empty."""
    tables = {}
    for name, schema in TABLES.items():
        path = folder / f"{name}.parquet"
        tables[name] = pl.scan_parquet(path) if path.exists() else pl.LazyFrame(schema=schema)
    return tables


def read_tables(folder: Path) -> dict[str, pl.DataFrame]:
    """Returns the record tables in `folder` with their schemas; a table without a file is empty."""
    return {name: table.collect() for name, table in scan_tables(folder).items()}


def file_sha256(path: Path) -> str:
    """Returns the SHA-256 of a file, in hex."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
