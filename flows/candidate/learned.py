"""Keeps candidate and reference from being examined on what either of them learned from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import polars as pl

from data import artefacts
from data.files import read_json
from models.kinds import kind_of
from models.registry.learned import Learned, read_learned

if TYPE_CHECKING:
    from flows.runtime.context import RunContext


@dataclass(frozen=True)
class LeftOut:
    """Test units that were left out, since a model that is scored had learned from them.

    A unit is what the evaluation of the kind leaves out at once: a contact, or a customer's row.
    """

    units: int  # left out
    of: int  # test units before
    by_role: dict[str, int]  # units that each model had learned from
    unknown: tuple[str, ...] = ()  # models that do not say what they learned from

    @property
    def share(self) -> float:
        """The share that was left out."""
        return self.units / self.of if self.of else 0.0

    def as_facts(self) -> dict[str, Any]:
        """Returns what scorecards and summaries keep of it."""
        return {**asdict(self), "unknown": list(self.unknown), "share": round(self.share, 6)}


def learned_by_role(context: RunContext, kind: str) -> dict[str, Learned | None]:
    """Returns what candidate and reference learned from; None where a model does not say.

    A base or a baseline has learned from nobody of this store.
    """
    row, reference = kind_of(kind), read_json(context.path(artefacts.REFERENCE.of(kind)))
    learned = {"candidate": read_learned(context.path(artefacts.BUNDLE.of(kind)))}
    if reference["version"] is None:
        return {**learned, "reference": Learned.of()}
    weights = context.path(reference["path"])
    return {**learned, "reference": read_learned(weights.parent if row.weights else weights)}


def leave_out_seen(
    units: pl.DataFrame, learned: Mapping[str, Learned | None]
) -> tuple[pl.DataFrame, LeftOut]:
    """Returns the `units` that no model of `learned` (by role) has learned from, and the rest told.

    Units have customer_id, voice and contact_id, or some of them.
    """
    seen = {role: None if one is None else one.seen(units) for role, one in learned.items()}
    any_seen = pl.Series([False] * units.height, dtype=pl.Boolean)
    for marks in seen.values():
        if marks is not None:
            any_seen = any_seen | marks
    return units.filter(~any_seen), LeftOut(
        units=int(any_seen.sum()),
        of=units.height,
        by_role={role: int(marks.sum()) for role, marks in seen.items() if marks is not None},
        unknown=tuple(sorted(role for role, marks in seen.items() if marks is None)),
    )


def seen_units(context: RunContext, kind: str, units: pl.DataFrame) -> dict[str, int | None]:
    """Returns how many test units of a scorecard each model has learned from, by role.

    None for a model that does not say. The clusters of a scorecard are customers, or voices where
    no customer is known.
    """
    named = units.select(
        pl.col("cluster").alias("customer_id"),
        *(name for name in ("voice", "contact_id") if name in units.columns),
    )
    return {
        role: None if learned is None else int(learned.seen(named).sum())
        for role, learned in learned_by_role(context, kind).items()
    }
