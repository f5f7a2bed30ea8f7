"""An append-only, hash-chained list in a JSONL file: who made what the champion or challenger, when and why."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

ORIGIN = "0" * 64


class LedgerError(RuntimeError):
    """The ledger has been altered or does not belong to this registry."""


@dataclass(frozen=True)
class Entry:
    """One move of a title. `hash` covers every other field; `prior` is the hash of the entry before it."""

    seq: int
    at: str
    action: str  # promote, rollback, challenge or withdraw
    name: str
    version: int
    previous: int | None
    bundle_sha256: str
    decision_id: str
    actor: str
    prior: str
    hash: str
    approved_by: str = (
        ""  # the person who approved a promotion, where the gate's settings ask for one
    )


@dataclass(frozen=True)
class AliasState:
    """Who holds which title after some entries: champions one could go back to (the present one last), challenger."""

    line: tuple[Entry, ...] = ()
    challenger: Entry | None = None

    @property
    def champion(self) -> Entry | None:
        """The promotion that made the present champion."""
        return self.line[-1] if self.line else None

    @property
    def previous(self) -> Entry | None:
        """The promotion that made the champion a rollback goes to."""
        return self.line[-2] if len(self.line) > 1 else None


def standing(entries: Iterable[Entry]) -> AliasState:
    """The titles after the entries of one model. Raises LedgerError for an action nobody knows."""
    line: list[Entry] = []
    challenger: Entry | None = None
    for entry in entries:
        if entry.action == "promote":
            line.append(entry)
        elif entry.action == "rollback":
            line.pop()
        elif entry.action == "challenge":
            challenger = entry
        elif entry.action != "withdraw":
            raise LedgerError(
                f"ledger, entry {entry.seq}: {entry.action} is no action. Update Keepline to read it."
            )
        if challenger and entry.action != "challenge" and entry.version == challenger.version:
            challenger = None  # it became champion, or was withdrawn
    return AliasState(tuple(line), challenger)


def digest(value: Any) -> str:
    """SHA-256 (hex) of `value` as JSON with sorted keys and no spaces."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def read(path: Path) -> list[Entry]:
    """Every entry, oldest first, after checking the chain. Raises LedgerError naming the first bad line.

    A last line without its line end is a write that was killed: it was never promised and is left out.
    """
    if not path.exists():
        return []
    entries: list[Entry] = []
    prior = ORIGIN
    for number, line in enumerate(_whole_lines(path).split("\n")[:-1], start=1):
        try:
            fields: dict[str, Any] = json.loads(line)
            entry = Entry(**fields)
        except (ValueError, TypeError) as error:
            raise LedgerError(
                f"{path}, line {number}: not an entry ({error}). Restore the file from a backup."
            ) from error
        body = {key: value for key, value in fields.items() if key != "hash"}
        if entry.prior != prior or entry.seq != number or entry.hash != digest(body):
            raise LedgerError(
                f"{path}, line {number}: altered, its hash does not fit. Restore the file from a backup."
            )
        prior = entry.hash
        entries.append(entry)
    return entries


def append(path: Path, fields: Mapping[str, Any]) -> Entry:
    """Adds one entry (`fields` are Entry's, less seq, prior and hash) and flushes it to disk. Hold the lease."""
    entries = read(path)
    body = {**fields, "seq": len(entries) + 1, "prior": entries[-1].hash if entries else ORIGIN}
    if entries:  # time never runs backwards in the ledger, so that a date names one champion
        body["at"] = max(
            datetime.fromisoformat(body["at"]), datetime.fromisoformat(entries[-1].at)
        ).isoformat()
    body.setdefault("approved_by", "")
    entry = Entry(**body, hash=digest(body))
    path.parent.mkdir(parents=True, exist_ok=True)
    whole = len(_whole_lines(path).encode()) if path.exists() else 0
    with path.open("ab") as handle:
        handle.truncate(whole)  # the remains of a write that was killed
        handle.write((json.dumps(asdict(entry), sort_keys=True) + "\n").encode())
        handle.flush()
        os.fsync(handle.fileno())
    return entry


def _whole_lines(path: Path) -> str:
    data = path.read_bytes()
    return data[: data.rfind(b"\n") + 1].decode(errors="replace")


def decision_id(record: Mapping[str, Any]) -> str:
    """The id a decision record must carry: 16 hex digits over everything it says except the id and the time.

    So the same evidence decided twice is one decision, and a record edited afterwards no longer fits its id.
    """
    return digest(
        {key: value for key, value in record.items() if key not in ("decision_id", "decided_at")}
    )[:16]
