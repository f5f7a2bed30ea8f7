"""Titles moved by a person: a challenger named or withdrawn, a champion rolled back, a stopped version readmitted."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from data.store import read_json
from flows import judging
from flows.wiring import street

if TYPE_CHECKING:
    from flows.steps import Street


def challenge(console: Console, kind: str, version: int, store: Path | None) -> None:
    """Makes a version that the gate has accepted the challenger.

    Raises FileNotFoundError when this store holds no decision about it, PromotionRefusedError as the registry does.
    """
    here = street(store)
    office = judging.registry(here)
    record = _decision(here, kind, version, office.version_tags(kind, version))
    office.challenge(kind, version, record, here.settings.actor, here.now())
    gets = here.settings.serve.rollout
    console.print(f"{kind}: v{version} is challenger; KEEPLINE_ROLLOUT says what it gets (here: {gets})")


def withdraw(console: Console, kind: str, store: Path | None) -> None:
    """Takes the title of challenger away, if anybody has it."""
    here = street(store)
    entry = judging.registry(here).withdraw(kind, here.settings.actor, here.now())
    console.print(f"{kind}: v{entry.version} is no challenger any more" if entry else f"{kind}: there is no challenger")


def readmit(console: Console, kind: str, version: int, why: str, store: Path | None) -> None:
    """Lets a version that the service stopped be tried, approved and promoted again."""
    here = street(store)
    stopped = judging.registry(here).readmit(kind, version, here.settings.actor, why)
    console.print(f"{kind}: v{version} is readmitted; it was stopped: {stopped}", highlight=False, soft_wrap=True)


def rollback(console: Console, kind: str, expected: int | None, store: Path | None) -> None:
    """Moves the champion alias one back, from the `expected` champion (default: the present one)."""
    here = street(store)
    entry = judging.registry(here).rollback(kind, here.settings.actor, here.now(), expected)
    console.print(f"{kind}: v{entry.version} is champion again, v{entry.previous} is not")


def _decision(street: Street, kind: str, version: int, tags: Mapping[str, str]) -> dict[str, Any]:
    path = street.path(f"decisions/{kind}") / f"{tags.get('decision_id', 'none')}.json"
    if not path.exists():
        raise FileNotFoundError(f"{path}: no decision about {kind} v{version} in this store. `keepline decisions`.")
    return dict(read_json(path))
