"""The trend store: one Parquet file a day with every figure, and the events of that day."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import polars as pl

from data.files import write_table

SCHEMA = {
    "day": pl.String,
    "kind": pl.String,
    "metric": pl.String,
    "by": pl.String,
    "slice": pl.String,
    "value": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
    "n": pl.Int64,
    "source": pl.String,
    "version": pl.Int64,
    "event": pl.String,
    "says": pl.String,
}
# Where a figure comes from.
TRUTH, ESTIMATE, MEASURED = "truth", "estimate", "measured"
# What happened.
ALARM, VERDICT = "alarm", "verdict"
CHAMPION_MOVES = ("promote", "rollback")  # as the ledger names them


@dataclass(frozen=True)
class Point:
    """A figure of a day, or an event of it (then `event` is set, and `value` may be missing)."""

    day: str  # ISO date
    kind: str  # of model
    metric: str
    value: float | None = None
    low: float | None = None
    high: float | None = None
    n: int | None = None
    source: str = MEASURED
    version: int | None = None  # of the champion
    by: str = ""  # the column of a slice; empty: all contacts
    slice: str = ""
    event: str = ""
    says: str = ""


def write_day(folder: Path, day: str, points: Iterable[Point]) -> Path:
    """Writes the points of one day, in place of those it had; other days stay.

    Raises ValueError for a point of another day.
    """
    rows = [asdict(point) for point in points]
    other = next((row["day"] for row in rows if row["day"] != day), None)
    if other:
        raise ValueError(f"trends of {day}: a point is of {other}. Write each day by itself.")
    path = folder / f"{day}.parquet"
    write_table(path, pl.DataFrame(rows, schema=SCHEMA))
    return path


def read_trends(
    folder: Path, *, kind: str = "", metrics: Sequence[str] = (), days: int | None = None
) -> pl.DataFrame:
    """Returns the points of all days (or the last `days` there are), oldest first.

    Columns as SCHEMA. `kind` and `metrics` choose; empty where there is no trend.
    """
    files = sorted(folder.glob("*.parquet"))[-days if days else None :]
    if not files:
        return pl.DataFrame(schema=SCHEMA)
    rows = pl.concat([pl.read_parquet(file, glob=False) for file in files], how="diagonal_relaxed")
    if kind:
        rows = rows.filter(pl.col("kind") == kind)
    if metrics:
        rows = rows.filter(pl.col("metric").is_in(list(metrics)))
    return rows.sort("day", "kind", "metric", "by", "slice", "source", maintain_order=True)
