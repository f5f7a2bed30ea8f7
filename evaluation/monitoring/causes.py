"""What asks for a retraining: one request a cause, kept in a small file until it is dealt with.

A cause is a kind of model with its champion. Whatever else alarms while it is open belongs to it,
unless nothing has alarmed for `ask_again_days`. A promotion or a person's acknowledgement closes
it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

from data.files import read_json, write_json


@dataclass(frozen=True)
class Cause:
    """Why a kind of model should be trained again. Days are ISO dates."""

    kind: str
    version: int
    metrics: tuple[str, ...]  # that alarmed, the first first
    reason: str
    asked_on: str  # the night that asked for a retraining
    last_on: str  # the last night something alarmed
    closed_on: str = ""
    closed_by: str = ""  # promotion, or who acknowledged it

    @property
    def event_id(self) -> str:
        """The same for one request, however often the night is repeated."""
        return f"{self.kind}-v{self.version}-{self.asked_on}-{self.metrics[0].replace(' ', '_')}"


@dataclass(frozen=True)
class Request:
    """What a night asks the flows for."""

    retrain: bool
    event: dict[str, Any]  # name, id, site, day, kinds, reasons; empty where nothing is asked for
    causes: tuple[Cause, ...]  # all that are open


def read_causes(path: Path) -> list[Cause]:
    """Returns every cause there was, oldest first; none where the file is missing."""
    if not path.exists():
        return []
    return [Cause(**{**row, "metrics": tuple(row["metrics"])}) for row in read_json(path)]


def note_alarms(
    path: Path,
    alarms: Mapping[str, Sequence[tuple[str, str]]],
    champions: Mapping[str, int],
    *,
    site: str,
    day: date,
    ask_again_days: int,
) -> Request:
    """Enters a night's alarms and returns what they ask for.

    `alarms` holds (metric, sentence) by kind, `champions` the version of each. A kind whose
    champion is another now has its cause closed. The same night repeated asks the same again, under
    the same id.
    """
    causes = [_after_promotion(cause, champions, day) for cause in read_causes(path)]
    for kind, found in alarms.items():
        if found:
            causes = _with_alarm(causes, kind, champions[kind], found, day, ask_again_days)
    if causes:
        write_json(path, [asdict(cause) for cause in causes])
    today = day.isoformat()
    asked = [cause for cause in causes if cause.asked_on == today and not cause.closed_on]
    event = _event(asked, site, today) if asked else {}
    return Request(bool(asked), event, tuple(cause for cause in causes if not cause.closed_on))


def _after_promotion(cause: Cause, champions: Mapping[str, int], day: date) -> Cause:
    if cause.closed_on or champions.get(cause.kind) == cause.version:
        return cause
    return replace(cause, closed_on=day.isoformat(), closed_by="promotion")


def _with_alarm(
    causes: list[Cause],
    kind: str,
    version: int,
    found: Sequence[tuple[str, str]],
    day: date,
    ask_again_days: int,
) -> list[Cause]:
    """Returns the causes with a kind's alarms: in the open one, or in a new one."""
    today = day.isoformat()
    names = tuple(metric for metric, _ in found)
    for place, cause in enumerate(causes):
        if cause.kind != kind or cause.closed_on:
            continue
        quiet_days = (day - date.fromisoformat(cause.last_on)).days
        if set(names) <= set(cause.metrics) or quiet_days < ask_again_days:
            known = (*cause.metrics, *(name for name in names if name not in cause.metrics))
            again = replace(cause, metrics=known, last_on=max(cause.last_on, today))
            return [*causes[:place], again, *causes[place + 1 :]]
    reason = " ".join(sentence for _, sentence in found)
    closed = [
        replace(cause, closed_on=today, closed_by="a later cause")
        if cause.kind == kind and not cause.closed_on
        else cause
        for cause in causes
    ]
    return [*closed, Cause(kind, version, names, reason, today, today)]


def _event(asked: Sequence[Cause], site: str, day: str) -> dict[str, Any]:
    return {
        "name": "keepline.retraining.requested",
        "id": f"{site}-" + "+".join(cause.event_id for cause in asked),
        "site": site,
        "day": day,
        "kinds": [cause.kind for cause in asked],
        "reasons": {cause.kind: cause.reason for cause in asked},
        "metrics": {cause.kind: list(cause.metrics) for cause in asked},
    }


def acknowledge(path: Path, kind: str, *, by: str, day: date) -> Cause | None:
    """Closes the open cause of a kind for a person and returns it; None where none is open.

    What still differs the next night asks again.
    """
    causes = read_causes(path)
    for place, cause in enumerate(causes):
        if cause.kind == kind and not cause.closed_on:
            closed = replace(cause, closed_on=day.isoformat(), closed_by=by)
            causes[place] = closed
            write_json(path, [asdict(each) for each in causes])
            return closed
    return None
