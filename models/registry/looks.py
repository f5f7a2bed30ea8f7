"""The ledger of looks: an append-only, hash-chained JSONL file for each kind of model.

A line says which test clusters a decision used and the level it spent on them, written before the
decision is made, so that a decision that was killed counts. A second line names the decision record
that came of it. Clusters are hashed: voices and customers cannot be read off the file. A line holds
only the clusters that joined or left since the look before.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any

from filelock import FileLock

from models.registry.ledger import ORIGIN, append_line, digest, read_chain


class LookAction(StrEnum):
    """What a line of the ledger says. The values are stored."""

    # Somebody looks at the test set: its clusters and the level spent.
    LOOK = "look"
    # The decision record of an earlier look is written.
    DECIDED = "decided"


@dataclass(frozen=True, kw_only=True)
class LookEntry:
    """One line. `look_id` names candidate, reference, metric and test data (see `look_id`).

    `number`, `level` and the two shares of LOOK are those of evaluation.gates.looks.Look. `joined`
    and `left` are hashed clusters. `decision_id` stands in a DECIDED line only. `hash` covers every
    other field, `prior` is the hash before it.
    """

    seq: int
    at: str  # ISO 8601, UTC
    action: str  # a value of LookAction
    kind: str
    look_id: str
    level: float = 0.0
    joined: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    decision_id: str = ""
    prior: str
    hash: str


def look_id(*, kind: str, metric: str, candidate: str, reference: str, data_hash: str) -> str:
    """Returns the name of a look: the same bundles, metric and test data are the same look."""
    return digest([kind, metric, candidate, reference, data_hash])[:16]


def hashed(kind: str, cluster: str) -> str:
    """Returns what the ledger calls a test cluster: 16 hex digits."""
    return hashlib.sha256(f"{kind}:{cluster}".encode()).hexdigest()[:16]


def locked(path: Path, timeout_s: float = 60.0) -> AbstractContextManager[Any]:
    """Holds the ledger of looks at `path` while a look is counted. A killed holder frees it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return FileLock(path.with_suffix(".lock"), timeout=timeout_s)


def read_looks(path: Path) -> list[LookEntry]:
    """Reads every line, oldest first, and checks the chain of hashes.

    A last line without its line end is a write that was killed and is left out. Raises LedgerError
    naming the first bad line.
    """
    return read_chain(path, _look, "a look")


def _look(fields: Mapping[str, Any]) -> LookEntry:
    units = {name: tuple(fields[name]) for name in ("joined", "left")}
    return LookEntry(**{**fields, **units})


def append_look(path: Path, units: Collection[str], **fields: Any) -> LookEntry:
    """Adds a look at the hashed clusters `units`, flushes it to disk and returns it.

    `fields` are at, kind, look_id and level. The caller holds `locked`.
    """
    before, now = present_units(read_looks(path)), set(units)
    changes = {"joined": tuple(sorted(now - before)), "left": tuple(sorted(before - now))}
    return _append(path, {**fields, **changes, "action": LookAction.LOOK.value})


def append_decided(path: Path, **fields: Any) -> None:
    """Adds the decision of a look, once. `fields` are at, kind, look_id and decision_id."""
    said = {
        (entry.look_id, entry.decision_id)
        for entry in read_looks(path)
        if entry.action == LookAction.DECIDED
    }
    if (fields["look_id"], fields["decision_id"]) not in said:
        _append(path, {**fields, "action": LookAction.DECIDED.value})


def present_units(entries: Iterable[LookEntry]) -> set[str]:
    """Returns the hashed clusters of the last look."""
    units: set[str] = set()
    for entry in entries:
        units = (units | set(entry.joined)) - set(entry.left)
    return units


def spent_by_unit(entries: Iterable[LookEntry]) -> dict[str, float]:
    """Returns the sum of levels that the looks have spent on each hashed cluster."""
    spent: dict[str, float] = {}
    since: dict[str, float] = {}  # total at the moment a present cluster joined
    total = 0.0
    for entry in entries:
        for unit in entry.left:
            spent[unit] = spent.get(unit, 0.0) + total - since.pop(unit)
        since |= dict.fromkeys(entry.joined, total)
        total += entry.level
    return spent | {unit: spent.get(unit, 0.0) + total - start for unit, start in since.items()}


def spent_since(entries: Iterable[LookEntry], now: datetime, days: int) -> float:
    """Returns the sum of levels of the looks of the `days` before `now`."""
    begin = now - timedelta(days=days)
    return sum(entry.level for entry in entries if datetime.fromisoformat(entry.at) > begin)


def _append(path: Path, fields: Mapping[str, Any]) -> LookEntry:
    entries = read_looks(path)
    body: dict[str, Any] = {
        "level": 0.0,
        "joined": (),
        "left": (),
        "decision_id": "",
        **fields,
        "seq": len(entries) + 1,
        "prior": entries[-1].hash if entries else ORIGIN,
    }
    entry = LookEntry(**body, hash=digest(body))
    append_line(path, asdict(entry))
    return entry
