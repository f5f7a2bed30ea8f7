"""Believes a line of the ledger only with the decision record it names.

The record must be there, be unaltered, accept, and be about the very kind and bundle that the line
moves. A line covers its record by the SHA-256 of the record's bytes. Lines from before that covers
nothing are believed where a record with their decision's id exists and accepts, and only as long as
no line before them covers its record. What this cannot tell: a record forged as a whole, id and all,
by somebody who may write both files. Signed ledgers refuse that (models/registry/signing.py).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from data.files import atomic
from models.registry.decision_rules import doubt
from models.registry.ledger import Action, AliasState, Entry, LedgerError, replay

_DECIDED = (Action.PROMOTE, Action.CHALLENGE)  # actions that a decision of their own allows


class DecisionRecords:
    """Decision records by id: those the registry keeps, and where records of old lines may lie."""

    def __init__(self, folder: Path, older: Sequence[Path] = ()) -> None:
        """`folder` is written to. `older` are searched too, with a folder a kind of model in each."""
        self._folder, self._older = folder, tuple(older)
        self._read: dict[tuple[Path, int, int], tuple[str, Any]] = {}

    def keep(self, decision: Mapping[str, Any]) -> str:
        """Writes a record beside the ledger, unless it is there; returns the SHA-256 of its bytes."""
        path = self._folder / f"{decision['decision_id']}.json"
        content = (
            json.dumps(decision, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
        ).encode()
        if not path.exists() or path.read_bytes() != content:
            with atomic(path) as temporary:
                temporary.write_bytes(content)
        return hashlib.sha256(content).hexdigest()

    def of(self, entry: Entry) -> tuple[str, Mapping[str, Any]]:
        """Returns (SHA-256 of the bytes, record) of the decision that `entry` names.

        Raises LedgerError where there is none, or it is no JSON object.
        """
        line = f"ledger, line {entry.seq}"
        if not re.fullmatch(r"[0-9a-f]{16}", entry.decision_id):
            raise LedgerError(f"{line}: {entry.decision_id!r} is no decision. {_RESTORE}")
        name = f"{entry.decision_id}.json"
        places = [self._folder / name, *(folder / entry.name / name for folder in self._older)]
        for path in places:
            if path.is_file():
                sha256, record = self._load(path)
                if not isinstance(record, Mapping):
                    raise LedgerError(f"{line}: {path} is no decision record. {_RESTORE}")
                return sha256, record
        raise LedgerError(
            f"{line}: it moves {entry.name} to v{entry.version} by decision {entry.decision_id}, "
            f"and there is no such record ({places[0]}). {_RESTORE}"
        )

    def _load(self, path: Path) -> tuple[str, Any]:
        stat = path.stat()
        key = (path, stat.st_mtime_ns, stat.st_size)
        if key not in self._read:
            content = path.read_bytes()
            try:
                record = json.loads(content)
            except ValueError:
                record = None
            self._read[key] = (hashlib.sha256(content).hexdigest(), record)
        return self._read[key]


_RESTORE = "Nothing is moved by it. Restore the registry's folder from a backup."


def check_entries(entries: Iterable[Entry], records: DecisionRecords) -> None:
    """Raises LedgerError naming the first of a model's `entries`, oldest first, not to be believed."""
    before: list[Entry] = []
    covered = False
    for entry in entries:
        if reason := _disbelief(entry, replay(before), records, covered=covered):
            raise LedgerError(
                f"ledger, line {entry.seq} ({entry.action} {entry.name} v{entry.version}, by "
                f"{entry.actor}): {reason}. {_RESTORE}"
            )
        covered = covered or (entry.action in _DECIDED and bool(entry.record_sha256))
        before.append(entry)


def _disbelief(entry: Entry, state: AliasState, records: DecisionRecords, *, covered: bool) -> str:
    """Why `entry` is not believed after `state`; empty if it is."""
    champion = state.champion
    if entry.previous != state.version_of("champion"):
        return "the champion before it was another than it says"
    if entry.action == Action.ROLLBACK:
        target = state.previous
        if target is None or not _same_model(entry, target):
            return "that version is not the champion before"
        return ""
    if entry.action == Action.WITHDRAW:
        challenger = state.challenger
        is_one = challenger is not None and _same_model(entry, challenger)
        return "" if is_one else "that version was no challenger"
    if entry.action not in _DECIDED:
        return ""  # `replay` refuses it
    sha256, record = records.of(entry)
    if entry.record_sha256 and sha256 != entry.record_sha256:
        return f"the record of its decision {entry.decision_id} was altered after it"
    if not entry.record_sha256 and covered:
        return "it does not cover the record of its decision, as the lines before it do"
    if reason := doubt(record, entry.name, entry.decision_id, entry.bundle_sha256):
        return f"its decision {entry.decision_id} {reason}"
    if entry.action == Action.CHALLENGE:
        return ""
    if (record.get("params") or {}).get("approval") == "required" and not entry.approved_by:
        return f"its decision {entry.decision_id} waits for approval"
    compared = (record.get("reference") or {}).get("bundle_sha256")
    if champion and compared != champion.bundle_sha256:
        return f"its decision {entry.decision_id} did not compare it with v{champion.version}"
    return ""


def _same_model(entry: Entry, other: Entry) -> bool:
    return (entry.version, entry.bundle_sha256, entry.decision_id) == (
        other.version,
        other.bundle_sha256,
        other.decision_id,
    )
