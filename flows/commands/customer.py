"""The command `keepline customer`: one customer's record, timeline, risk, reasons and advice."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from data import artefacts
from data.artefacts import Artefact
from data.features import evidence
from data.files import read_tables
from data.timeline import timeline
from flows.runtime.context import RunContext, existing_context
from flows.stages.reader import contacts_and_turns

_SURE = 0.5  # labels less likely than this are not shown
_SHOWN_WORDS = 90  # characters of the customer's first words


def customer(console: Console, customer_id: str, store: Path | None) -> None:
    """Prints record, risks, reasons with their moments, advice and timeline of a customer.

    Raises ValueError for a customer nobody knows.
    """
    context = existing_context(store)
    clean = read_tables(context.path(artefacts.CLEAN))
    record = clean["customers"].filter(pl.col("customer_id") == customer_id)
    if record.is_empty():
        some = ", ".join(clean["customers"]["customer_id"].head(3))
        hint = (
            f"There are {clean['customers'].height}, such as {some}."
            if some
            else "Run the pipeline: keepline run."
        )
        raise ValueError(f"no customer is called {customer_id}. {hint}")
    crm = record.row(0, named=True)
    facts = [
        f"{name} {crm[name]}"
        for name in ("plan", "region", "monthly_price", "since")
        if crm[name] is not None
    ]
    console.print(f"[bold]{escape(customer_id)}[/]  {escape(', '.join(facts))}", highlight=False)
    contacts, turns = contacts_and_turns(context)
    for line in _judgement(context, contacts, turns, customer_id):
        console.print(line, highlight=False, soft_wrap=True)
    events = timeline(
        {"contacts": contacts, "turns": turns, "recordings": clean["recordings"]}, customer_id
    )
    console.print(_table(events, _seen(context, events)))


def _judgement(
    context: RunContext, contacts: pl.DataFrame, turns: pl.DataFrame, customer_id: str
) -> Iterator[str]:
    """Yields risks, reasons and advice as lines, as far as the run got."""
    scores = _rows(context, artefacts.SCORES, customer_id)
    if scores.is_empty():
        yield "Not scored: no churn model is active, or the customer has left."
        return
    risks = [
        f"{name.removeprefix('risk_')} days {scores[name][0]:.1%}"
        for name in scores.columns
        if "risk" in name
    ]
    yield f"Risk of leaving as of {scores['as_of'][0]}: {', '.join(risks)}"
    reasons = _rows(context, artefacts.REASONS, customer_id)
    if "contact_id" in reasons.columns and reasons["contact_id"].is_null().all():
        # The run looks for moments of the riskiest alone.
        bare = reasons.drop("contact_id", "started_at", "start_s", "words")
        labels = pl.read_parquet(context.path(artefacts.LABELS))
        reasons = evidence.with_evidence(
            bare,
            scores,
            contacts=contacts,
            labels=labels,
            turns=[turns],
            params=context.params.features,
        )
    for reason in reasons.sort("rank").iter_rows(named=True):
        yield f"  {reason['rank']}. {escape(reason['sentence'])}{escape(_moment(reason))}"
    for row in _rows(context, artefacts.TREATMENTS, customer_id).iter_rows(named=True):
        yield escape(row["why"])


def _moment(reason: dict[str, Any]) -> str:
    if reason.get("contact_id") is None:
        return ""
    second = "" if reason["start_s"] is None else f" at {reason['start_s']:.0f} s"
    quoted = f": “{reason['words']}”" if reason["words"] else ""
    return f" ({reason['contact_id']}, {reason['started_at']:%Y-%m-%d}{second}{quoted})"


def _seen(context: RunContext, events: pl.DataFrame) -> dict[str, str]:
    """Returns what the labels say of each contact, in words.

    That is the likeliest reason and every friction and barrier.
    """
    path = context.path(artefacts.LABELS)
    if not path.is_file():
        return {}
    labels = pl.read_parquet(path).join(events.select("contact_id"), on="contact_id", how="semi")
    plain = ~pl.col("value").is_in(["no", "none", "neutral"]) & (pl.col("label") != "resolved")
    shown = (
        labels.filter(plain & (pl.col("probability") >= _SURE))
        .sort("label")
        .with_columns(
            pl.when(pl.col("label").str.starts_with("friction_"))
            .then(pl.col("label").str.strip_prefix("friction_"))
            .otherwise("value")
            .str.replace_all("_", " ")
            .alias("label_text")
        )
    )
    each = shown.group_by("contact_id").agg(
        pl.col("label_text").unique(maintain_order=True).str.join(", ")
    )
    return dict(each.iter_rows())


def _table(events: pl.DataFrame, seen: dict[str, str]) -> Table:
    table = Table(box=None)
    for column in ("began", "channel", "contact", "what it was", "the customer's first words"):
        table.add_column(column)
    for row in events.iter_rows(named=True):
        first = (row["customer_text"] or "").split("\n")[0]
        shown = first if len(first) <= _SHOWN_WORDS else first[: _SHOWN_WORDS - 1] + "…"
        table.add_row(
            f"{row['started_at']:%Y-%m-%d %H:%M}",
            row["channel"],
            escape(row["contact_id"]),
            escape(seen.get(row["contact_id"], "")),
            escape(shown),
        )
    return table


def _rows(context: RunContext, artefact: Artefact, customer_id: str) -> pl.DataFrame:
    """Returns the customer's rows of a table of the store; none where no run has left it."""
    path = context.path(artefact)
    if not path.is_file():
        return pl.DataFrame({"customer_id": []}, schema={"customer_id": pl.String})
    return pl.read_parquet(path).filter(pl.col("customer_id") == customer_id)
