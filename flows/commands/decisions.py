"""The commands `keepline decisions`, `approve`, `refuse` and `ledger`."""

from __future__ import annotations

import os
from datetime import date
from pathlib import Path

from rich.console import Console
from rich.table import Table

from data import artefacts
from flows.runtime.context import existing_context
from flows.runtime.settings import from_environment
from models.kinds import kind_names


def decisions(console: Console, store: Path | None) -> None:
    """Prints every decision record, newest first, with its verdict and the reason.

    Those that are not genuine come first. Raises ValueError where there is none.
    """
    from evaluation.gates.record import DecisionError, read_decision

    folder = from_environment(store=store).store / artefacts.ALL_DECISIONS.path
    rows = []
    for path in folder.glob("*/*.json"):
        try:
            record = read_decision(path).record
        except (DecisionError, OSError) as error:
            rows.append(("?", path.stem, path.parent.name, "not genuine", str(error)))
        else:
            rows.append(
                (
                    record["decided_at"],
                    record["decision_id"],
                    record["kind"],
                    record["verdict"],
                    record["summary"],
                )
            )
    if not rows:
        raise ValueError(f"{folder}: no decision yet. `keepline run` makes one a model.")
    table = Table(box=None)
    for column in ("decided", "decision", "model", "verdict", "why"):
        table.add_column(column, overflow="fold")
    for decided_at, *cells in sorted(rows, reverse=True):
        table.add_row(decided_at[:16], *cells)
    console.print(table)
    console.print(f"the records and their pages: {folder}", soft_wrap=True, highlight=False)


def answer(
    console: Console, which: str, word: str, *, by: str | None, note: str, store: Path | None
) -> None:
    """Stores a person's answer (approved or refused) to a decision that waits for one."""
    from flows.candidate import approvals

    context = existing_context(store)
    record = approvals.answer(context, which, word, by or context.settings.actor, note)
    then = "; the next `keepline run` promotes it" if word == "approved" else ""
    if os.environ.get("PREFECT_API_URL"):
        from flows.candidate import approval_form

        if approval_form.resume(record["decision_id"], record):
            then = "; its release goes on"
    console.print(
        f"{record['decision_id']} {record['answer']} by {record['by']}{then}", highlight=False
    )


def sign_ledger(console: Console, store: Path | None) -> None:
    """Signs the ledger's last line, and with it all before it, with KEEPLINE_SIGNING_KEY.

    Raises RegistryError without a key.
    """
    entry = existing_context(store).registry().sign_ledger()
    console.print(f"signed up to line {entry.seq}" if entry else "the ledger is empty")


def ledger(console: Console, at: str | None, store: Path | None) -> None:
    """Prints the ledger, or who was champion on a day.

    Raises ValueError when `at` is no day, NoStoreError where no run has been.
    """
    try:
        day = None if at is None else date.fromisoformat(at)
    except ValueError:
        raise ValueError(f"{at!r} is no day. Write it as YYYY-MM-DD.") from None
    registry = existing_context(store).registry()
    if day is not None:
        for kind in kind_names():
            version = registry.champion_at(kind, day)
            console.print(
                f"{at} {kind}: {'nobody' if version is None else f'v{version}'}", highlight=False
            )
        return
    table = Table(box=None)
    for column in (
        "at",
        "action",
        "model",
        "champion was",
        "version",
        "decision",
        "by",
        "approved by",
        "hash",
    ):
        table.add_column(column)
    for entry in registry.ledger():
        table.add_row(
            entry.at[:19],
            entry.action,
            entry.name,
            str(entry.previous or "–"),
            f"v{entry.version}",
            entry.decision_id,
            entry.actor,
            entry.approved_by or "–",
            entry.hash[:12],
        )
    console.print(table)
