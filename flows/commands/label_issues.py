"""The command `keepline label-issues`: labels and outcomes that are probably wrong."""

from __future__ import annotations

from pathlib import Path

import polars as pl
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from data import artefacts
from data.files import write_table
from flows.runtime.context import existing_context
from flows.runtime.lease import lease
from flows.runtime.progress import bar
from flows.stages.reader import contacts_and_turns


def label_issues(console: Console, horizon_days: int, limit: int, store: Path | None) -> None:
    """Writes suspects.parquet to the store and prints its first `limit` rows.

    Raises ValueError where the pipeline has left no labels or features.
    """
    from training.label_issues import find_label_issues, find_outcome_issues

    context = existing_context(store)
    labels, rows = context.path(artefacts.LABELS), context.path(artefacts.FEATURES)
    for path in (labels, rows):
        if not path.is_file():
            raise ValueError(
                f"{path}: not there yet. Run the pipeline first: keepline run, or keepline demo."
            )
    out = context.path(artefacts.LABEL_ISSUES)
    with (
        lease(context, holder=f"label-issues of {context.site}"),
        bar(console, "doubting labels") as progress,
    ):
        contacts, turns = contacts_and_turns(context)
        issues = pl.concat(
            [
                find_label_issues(pl.read_parquet(labels), turns, contacts, progress=progress),
                find_outcome_issues(pl.read_parquet(rows), horizon_days),
            ]
        ).sort("margin", descending=True, maintain_order=True)
        write_table(out, issues)
    table = Table(box=None)
    for column in ("about", "label", "given", "rather", "probability"):
        table.add_column(column)
    for row in issues.head(limit).iter_rows(named=True):
        table.add_row(
            escape(f"{row['about']} {row['id']}"),
            row["label"],
            row["given"],
            row["suggested"],
            f"{row['probability']:.2f}",
        )
    console.print(table)
    console.print(
        f"{issues.height} suspects in [bold]{out}[/], most suspect first",
        highlight=False,
        soft_wrap=True,
    )
