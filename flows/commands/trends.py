"""The commands `keepline trends` and `keepline acknowledge`: what the nights found."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from data import artefacts
from evaluation.monitoring import causes, trends
from flows.runtime.context import existing_context
from models.kinds import kind_of, kinds

_ESTIMATES = ("wer_calls_joined", "wer_calls_confidence", "wer_calls_truth")


def show_trends(
    console: Console,
    store: Path | None,
    *,
    kind: str,
    metrics: list[str],
    days: int,
    slices: bool,
    as_json: bool,
) -> None:
    """Prints figures by day with their intervals, and what happened; as JSON lines if asked for.

    Without `metrics` they are each kind's own, with the estimates of word errors. `slices` adds
    those of slices. Raises NoStoreError where no run has been.
    """
    context = existing_context(store)
    rows = trends.read_trends(context.path(artefacts.TRENDS), kind=kind, days=days)
    if not slices:
        rows = rows.filter((pl.col("by") == "") | (pl.col("event") != ""))
    shown = pl.col("metric").is_in(metrics) if metrics else _usual()
    rows = rows.filter(shown | (pl.col("event").is_in([trends.ALARM, *trends.CHAMPION_MOVES])))
    if as_json:
        for row in rows.iter_rows(named=True):
            print(json.dumps(row, ensure_ascii=False))
        return
    if rows.is_empty():
        console.print("No night has been evaluated yet: keepline stage nightly", highlight=False)
        return
    table = Table(box=None)
    for column in ("day", "kind", "metric", "value", "95 % interval", "n", "source", "version"):
        table.add_column(column, justify="right" if column in ("value", "n") else "left")
    for row in rows.iter_rows(named=True):
        if row["event"]:
            table.add_row(
                row["day"],
                row["kind"],
                f"[bold]{escape(row['event'])}[/]",
                "",
                "",
                "",
                escape(row["says"]),
                _version(row["version"]),
            )
            continue
        where = f" {row['by']}={row['slice']}" if row["by"] else ""
        ends = "" if row["low"] is None else f"{row['low']:.4f} to {row['high']:.4f}"
        table.add_row(
            row["day"],
            row["kind"],
            escape(row["metric"] + where),
            "" if row["value"] is None else f"{row['value']:.4f}",
            ends,
            "" if row["n"] is None else str(row["n"]),
            row["source"],
            _version(row["version"]),
        )
    console.print(table)


def _usual() -> pl.Expr:
    primary = [kind.primary_metric for kind in kinds()]
    shown = [*primary, *(kind.metric for kind in kinds()), *_ESTIMATES]
    matured = pl.col("metric").str.contains(r"^(matured_)?brier_[0-9]+$")
    return pl.col("metric").is_in(shown) | matured


def _version(version: int | None) -> str:
    return "" if version is None else f"v{version}"


def acknowledge(console: Console, kind: str, store: Path | None) -> None:
    """Closes what asks for a retraining of a kind, and says what that was."""
    from flows.stages.nightly import CAUSES

    context = existing_context(store)
    closed = causes.acknowledge(
        context.path(CAUSES),
        kind_of(kind).name,
        by=context.settings.actor,
        day=context.now().date(),
    )
    if closed is None:
        console.print(f"{kind}: nothing asks for a retraining", highlight=False)
        return
    console.print(
        f"{kind}: acknowledged {', '.join(closed.metrics)} (asked on {closed.asked_on}). "
        "What still differs tomorrow asks again.",
        highlight=False,
        soft_wrap=True,
    )
