"""Divides a table into accepted rows and one quarantine line a rejected row."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl

from data.files import read_lines, write_lines
from data.records import KEYS, TABLES
from data.validation.expectations import Expectation


def split_rejects(
    table: str,
    frame: pl.DataFrame,
    *,
    expectations: list[Expectation],
    broken: dict[str, list[int]],
) -> tuple[pl.DataFrame, list[dict[str, Any]]]:
    """Returns the rows that broke nothing, with the record's columns, and an entry for each other.

    The first broken expectation in the suite's order is the reason; the others stand in the
    detail.
    """
    broken_by: dict[int, list[Expectation]] = {}
    for expectation in expectations:
        for row in broken.get(expectation.reason, []):
            broken_by.setdefault(row, []).append(expectation)
    entries: list[dict[str, Any]] = []
    for row in sorted(broken_by):
        values, (first, *others) = frame.row(row, named=True), broken_by[row]
        detail = _detail(first, values)
        if others:
            detail += "; also " + ", ".join(other.reason for other in others)
        entry: dict[str, Any] = {
            "table": table,
            "thing": _thing(table, row, values),
            "reason": first.reason,
            "detail": detail,
        }
        if table == "recordings":
            entry["audio_s"] = values["duration_s"]
        entries.append(entry | {"next_step": first.next_step})
    accepted = pl.Series([row not in broken_by for row in range(len(frame))], dtype=pl.Boolean)
    return frame.filter(accepted).select(list(TABLES[table])), entries


def _thing(table: str, row: int, values: dict[str, Any]) -> str:
    parts = [values[name] for name in KEYS[table]]
    if parts[0] is None:
        return f"row {row}"
    return "/".join(str(part) for part in parts)


def _detail(expectation: Expectation, values: dict[str, Any]) -> str:
    if expectation.detail:
        return expectation.detail.format(**values)
    value = values.get(expectation.column or "")
    shown = f"{value:.4g}" if isinstance(value, float) else str(value)
    return f"{expectation.column} is {shown}, wanted {expectation.requirement}"


def write_quarantine(path: Path, entries: list[dict[str, Any]], now: datetime) -> None:
    """Writes one JSON line a reject; one that is there already keeps its first time (`at`)."""

    def name(entry: dict[str, Any]) -> tuple[str, str, str]:
        return entry["table"], entry["thing"], entry["reason"]

    before = {name(entry): entry["at"] for entry in read_lines(path)} if path.exists() else {}
    stamped = [
        entry | {"at": before.get(name(entry), now.isoformat(timespec="seconds"))}
        for entry in entries
    ]
    write_lines(path, stamped)
