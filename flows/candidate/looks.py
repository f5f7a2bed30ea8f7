"""Counts the look at the test set that a decision is, before the decision is made."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import polars as pl

from data import artefacts

if TYPE_CHECKING:
    from evaluation.gates.looks import Look
    from evaluation.scorecard import Scorecard
    from flows.runtime.context import RunContext


def count_look(
    context: RunContext, kind: str, candidate: Scorecard, reference: Scorecard
) -> Look | None:
    """Returns the look that deciding on `candidate` is, and writes it to the store's ledger.

    The same two bundles on the same data are the same look, at the level it had: a decision made
    again, or killed and made again, counts once. None where the gate's metric was not measured by
    unit: then nothing can be looked at.
    """
    from evaluation.gates.looks import YEAR_DAYS, look_at
    from models.registry import looks

    gate, path = context.params.gates.of(kind), context.path(artefacts.LOOKS.of(kind))
    units = {looks.hashed(kind, cluster) for cluster in _clusters(candidate, gate.metric)}
    if not units:
        return None
    name = _look_id(kind, gate.metric, candidate, reference)
    with looks.locked(path):
        entries = looks.read_looks(path)
        earlier = [entry for entry in entries if entry.action == looks.LookAction.LOOK]
        place = next((n for n, entry in enumerate(earlier) if entry.look_id == name), None)
        now = context.now() if place is None else datetime.fromisoformat(earlier[place].at)
        before = earlier[:place]
        look = look_at(
            units,
            spent=looks.spent_by_unit(before),
            spent_in_year=looks.spent_since(before, now, YEAR_DAYS),
            earlier=len(before),
            levels=gate.look_levels,
            level=None if place is None else earlier[place].level,
        )
        if place is None:
            looks.append_look(
                path, units, at=now.isoformat(), kind=kind, look_id=name, level=look.level
            )
    return look


def name_decision(
    context: RunContext, kind: str, decision_id: str, cards: tuple[Scorecard, Scorecard]
) -> None:
    """Writes to the ledger which decision record the look at these two scorecards came to."""
    from models.registry import looks

    path = context.path(artefacts.LOOKS.of(kind))
    name = _look_id(kind, context.params.gates.of(kind).metric, *cards)
    with looks.locked(path):
        looks.append_decided(
            path, at=context.now().isoformat(), kind=kind, look_id=name, decision_id=decision_id
        )


def _clusters(card: Scorecard, metric: str) -> list[str]:
    """The test clusters with a weight in `metric`."""
    ratio = card.ratios.get(metric)
    if ratio is None:
        return []
    weighted = card.units.filter(pl.col(ratio.denominator) > 0)
    return weighted["cluster"].cast(pl.String).unique().to_list()


def _look_id(kind: str, metric: str, candidate: Scorecard, reference: Scorecard) -> str:
    from models.registry.looks import look_id

    return look_id(
        kind=kind,
        metric=metric,
        candidate=candidate.bundle_sha256,
        reference=reference.bundle_sha256 or reference.model,
        data_hash=candidate.data_hash,
    )
