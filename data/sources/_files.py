"""Reads csv and JSON lines strictly for all sources and says which row or line is wrong."""

from __future__ import annotations

import json
import math
import re
import zoneinfo
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from data.records import ROLES, TABLES, UTC
from data.sources import Refusal, SourceError, SourceParams

ROW = "_row"
NUMBER = re.compile(r"-?(0|[1-9]\d{0,14})(\.\d+)?")


def read_csv(
    root: Path, name: str, required: Sequence[str], *, header: Sequence[str] | None = None
) -> pl.DataFrame:
    """Reads a csv file as stripped strings (empty is null) plus `_row`, its line number.

    `_row` counts as a spreadsheet would. `header` names the columns of a file that has none;
    such a file may have more columns, which are dropped. Raises SourceError for a missing,
    empty, ragged or undecodable file and for a missing column.
    """
    path = root / name
    if not path.is_file():
        raise SourceError(f"{path}: no such file. Add {name} to the export.")
    try:
        frame = pl.read_csv(
            path, has_header=header is None, infer_schema=False, raise_if_empty=True
        )
    except pl.exceptions.NoDataError as error:
        raise SourceError(f"{path}: the file is empty. Export {name} again.") from error
    except (pl.exceptions.PolarsError, UnicodeDecodeError) as error:
        why = str(error).split("\n", 1)[0]
        raise SourceError(
            f"{path}: not a readable csv file ({why}). Export it again as UTF-8 csv."
        ) from error
    if header is not None:
        if frame.width < len(header):
            raise SourceError(
                f"{path}: {frame.width} columns found, at least {len(header)} needed: "
                f"{', '.join(header)}. Export it with all of them, in this order and without a "
                "header line."
            )
        frame = frame.select(frame.columns[: len(header)]).rename(
            dict(zip(frame.columns, header, strict=False))
        )
    for column in required:
        if column not in frame.columns:
            raise SourceError(
                f"{path}: no column {column!r} (columns found: {', '.join(frame.columns)}). Add "
                "or rename it."
            )
    stripped = pl.all().str.strip_chars()
    frame = frame.select(pl.when(stripped != "").then(stripped))
    return frame.with_row_index(ROW, offset=1 if header is not None else 2)


def convert(
    frame: pl.DataFrame,
    name: str,
    *,
    what: str,
    key: str,
    columns: dict[str, tuple[str, Callable[[pl.Expr], pl.Expr]]],
    refusals: list[Refusal],
) -> pl.DataFrame:
    """Converts text columns and returns the rows that convert and have their key.

    `columns` maps a name to what it should be (for the message) and the conversion, which gives
    null where it fails. `what` names the type of record.
    """
    good = frame
    conversions = {key: ("text", _as_is), **columns}
    for column, (expected, conversion) in conversions.items():
        if column not in good.columns:
            continue
        good = good.with_columns(conversion(pl.col(column)).alias("_converted"))
        failed = pl.col("_converted").is_null() & (
            pl.col(column).is_not_null() | (pl.lit(column) == key)
        )
        for row in good.filter(failed).iter_rows(named=True):
            thing = f"{what} {row[key]}" if row[key] else f"{name} row {row[ROW]}"
            where = f"{row[column]!r} in {name} row {row[ROW]}"
            reason = (
                f"{column} is not {expected} ({where})"
                if row[column]
                else f"{column} is empty ({name})"
            )
            refusals.append(Refusal(thing, what, reason, f"Correct {name} and ingest again."))
        good = (
            good.filter(~failed).with_columns(pl.col("_converted").alias(column)).drop("_converted")
        )
    return good


def _as_is(text: pl.Expr) -> pl.Expr:
    return text


def require_filled(
    frame: pl.DataFrame,
    name: str,
    *,
    what: str,
    key: str,
    columns: Sequence[str],
    refusals: list[Refusal],
) -> pl.DataFrame:
    """Returns the rows in which no column of `columns` is empty; refuses the others."""
    for column in columns:
        for row in frame.filter(pl.col(column).is_null()).iter_rows(named=True):
            refusals.append(
                Refusal(
                    f"{what} {row[key]}",
                    what,
                    f"{column} is empty ({name} row {row[ROW]})",
                    f"Fill it in {name} and ingest again.",
                )
            )
        frame = frame.filter(pl.col(column).is_not_null())
    return frame


def number(text: pl.Expr) -> pl.Expr:
    """Converts text to finite numbers; anything else is null."""
    value = text.cast(pl.Float64, strict=False)
    return pl.when(value.is_finite()).then(value)


def whole(text: pl.Expr) -> pl.Expr:
    """Converts text to integers from 0; anything else is null."""
    return text.cast(pl.UInt16, strict=False)


def day(text: pl.Expr) -> pl.Expr:
    """Converts text to ISO dates; anything else is null."""
    return text.str.to_date("%Y-%m-%d", strict=False)


def yes_or_no(text: pl.Expr) -> pl.Expr:
    """Converts yes/no, true/false and 1/0 in any case; anything else is null."""
    lower = text.str.to_lowercase()
    return (
        pl.when(lower.is_in(["yes", "true", "1"]))
        .then(pl.lit(True))
        .when(lower.is_in(["no", "false", "0"]))
        .then(pl.lit(False))
    )


def time_in(timezone: str) -> Callable[[pl.Expr], pl.Expr]:
    """Returns a conversion of ISO 8601 times to UTC.

    Times without an offset are local to `timezone` (the earlier of two, null in a gap). Raises
    SourceError for a zone that does not exist.
    """
    try:
        zoneinfo.ZoneInfo(timezone)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError) as error:
        raise SourceError(
            f"sources.timezone: {timezone!r} is not an IANA time zone. Use one like Europe/Zurich."
        ) from error

    def conversion(text: pl.Expr) -> pl.Expr:
        iso = text.str.replace(" ", "T", literal=True).str.replace("[zZ]$", "+00:00")
        iso = (
            pl.when(iso.str.contains(r"T\d\d:\d\d($|[+-])"))
            .then(iso.str.replace(r"(T\d\d:\d\d)", "$1:00"))
            .otherwise(iso)
        )
        aware = iso.str.to_datetime("%Y-%m-%dT%H:%M:%S%.f%:z", time_unit="us", strict=False)
        local = iso.str.to_datetime("%Y-%m-%dT%H:%M:%S%.f", time_unit="us", strict=False)
        local = local.dt.replace_time_zone(timezone, ambiguous="earliest", non_existent="null")
        return pl.coalesce(aware.cast(UTC), local.dt.convert_time_zone("UTC").cast(UTC))

    return conversion


def attributes(frame: pl.DataFrame, columns: Sequence[str]) -> pl.Series:
    """Returns the further columns of a CRM as one JSON object a row.

    Empty fields are left out, plain numbers are numbers.
    """

    def value(text: str) -> Any:
        if not NUMBER.fullmatch(text):
            return text
        return float(text) if "." in text else int(text)

    rows = (
        frame.select(columns).iter_rows(named=True)
        if columns
        else ({} for _ in range(frame.height))
    )
    texts = [
        json.dumps(
            {k: value(v) for k, v in row.items() if v is not None},
            sort_keys=True,
            ensure_ascii=False,
        )
        for row in rows
    ]
    return pl.Series("attributes", texts, dtype=pl.String)


def records(table: str, frame: pl.DataFrame) -> pl.DataFrame:
    """Returns the columns of `table` in its types; those that are not in `frame` are null."""
    schema = TABLES[table]
    return frame.select(
        (pl.col(name) if name in frame.columns else pl.lit(None)).cast(dtype).alias(name)
        for name, dtype in schema.items()
    )


def read_jsonl(
    root: Path, name: str, refusals: list[Refusal]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields the objects of a JSON-lines file with their places; refuses other lines."""
    with (root / name).open("rb") as handle:
        for line_number, line in enumerate(handle, start=1):
            if not line.strip():
                continue
            where = f"{name} line {line_number}"
            value = _object(line, where, refusals)
            if value is not None:
                yield where, value


def read_json_files(
    root: Path, folder: str, refusals: list[Refusal]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields the objects of all `folder/*.json` by name with their places; refuses other files."""
    for path in sorted((root / folder).glob("*.json")):
        where = f"{folder}/{path.name}"
        value = _object(path.read_bytes(), where, refusals)
        if value is not None:
            yield where, value


def _object(raw: bytes, where: str, refusals: list[Refusal]) -> dict[str, Any] | None:
    try:
        value = json.loads(raw)
        if not isinstance(value, dict):
            raise ValueError("not an object")
    except ValueError as error:
        refusals.append(
            Refusal(
                where, "line", f"not a JSON object ({error})", f"Correct {where} and ingest again."
            )
        )
        return None
    return value


def turn_rows(
    contact_id: Any,
    turns: Any,
    *,
    origin: str,
    where: str,
    options: SourceParams,
    refusals: list[Refusal],
) -> list[dict[str, Any]]:
    """Returns the turns of one contact as rows of TURNS.

    One bad turn refuses them all: a text with gaps would teach wrong things.
    """

    def refuse(reason: str, next_step: str) -> list[dict[str, Any]]:
        thing = f"contact {contact_id}" if isinstance(contact_id, str) and contact_id else where
        refusals.append(Refusal(thing, "turns", f"{reason}", next_step))
        return []

    again = f"Correct {where} and ingest again."
    if not isinstance(contact_id, str) or not contact_id:
        return refuse("does not say which contact it is of", again)
    if not isinstance(turns, list) or not all(isinstance(turn, dict) for turn in turns):
        return refuse(f"its turns are not a list of objects ({where})", again)
    rows = []
    for index, turn in enumerate(turns):
        given_role, times = turn.get("role"), (turn.get("start_s"), turn.get("end_s"))
        role = options.roles.get(str(given_role), given_role)
        if role not in ROLES:
            return refuse(
                f'unknown role "{given_role}" ({where}, turn {index})',
                f"Map it in sources.roles to one of {', '.join(ROLES)}, or correct {where}.",
            )
        if not isinstance(turn.get("text"), str):
            return refuse(f"a turn has no text ({where}, turn {index})", again)
        for at in times:
            if at is not None and (
                isinstance(at, bool) or not isinstance(at, (int, float)) or not math.isfinite(at)
            ):
                return refuse(
                    f"a turn's time is not a number of seconds ({where}, turn {index})", again
                )
        start_s, end_s = times
        row = {"contact_id": contact_id, "turn": index, "role": role, "text": turn["text"]}
        rows.append({**row, "start_s": start_s, "end_s": end_s, "origin": origin})
    return rows


def turns_frame(rows: list[dict[str, Any]]) -> pl.DataFrame:
    """Returns rows of `turn_rows` as a table."""
    return pl.DataFrame(rows, schema=TABLES["turns"], strict=False)
