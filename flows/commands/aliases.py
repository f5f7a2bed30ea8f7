"""Moves aliases for a person.

A challenger is named or withdrawn, a champion rolled back, a stopped version readmitted.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from data import artefacts
from data.files import read_json
from flows.runtime.context import existing_context

if TYPE_CHECKING:
    from flows.runtime.context import RunContext


def challenge(console: Console, kind: str, version: int, store: Path | None) -> None:
    """Makes a version that the gate has accepted the challenger.

    Raises FileNotFoundError when this store holds no decision about it, PromotionRefusedError as
    the registry does.
    """
    context = existing_context(store)
    registry = context.registry()
    record = _decision(context, kind, version, registry.version_tags(kind, version))
    registry.challenge(
        kind, version, decision=record, actor=context.settings.actor, now=context.now()
    )
    gets = context.settings.serve.rollout
    console.print(
        f"{kind}: v{version} is challenger; KEEPLINE_ROLLOUT says what it gets (here: {gets})"
    )


def withdraw(console: Console, kind: str, store: Path | None) -> None:
    """Takes the alias challenger away, if any version has it."""
    context = existing_context(store)
    entry = context.registry().withdraw(kind, context.settings.actor, context.now())
    console.print(
        f"{kind}: v{entry.version} is no challenger any more"
        if entry
        else f"{kind}: there is no challenger"
    )


def readmit(console: Console, kind: str, version: int, *, why: str, store: Path | None) -> None:
    """Lets a version that the service stopped be tried, approved and promoted again."""
    context = existing_context(store)
    stopped = context.registry().readmit(kind, version, actor=context.settings.actor, why=why)
    console.print(
        f"{kind}: v{version} is readmitted; it was stopped: {stopped}",
        highlight=False,
        soft_wrap=True,
    )


def rollback(console: Console, kind: str, expected: int | None, store: Path | None) -> None:
    """Makes the champion before the `expected` one champion again.

    `expected` None means whichever is champion now.
    """
    context = existing_context(store)
    entry = context.registry().rollback(
        kind, context.settings.actor, context.now(), expected=expected
    )
    console.print(f"{kind}: v{entry.version} is champion again, v{entry.previous} is not")


def _decision(
    context: RunContext, kind: str, version: int, tags: Mapping[str, str]
) -> dict[str, Any]:
    path = context.path(artefacts.DECISIONS.of(kind)) / f"{tags.get('decision_id', 'none')}.json"
    if not path.exists():
        raise FileNotFoundError(
            f"{path}: no decision about {kind} v{version} in this store. `keepline decisions`."
        )
    return dict(read_json(path))
