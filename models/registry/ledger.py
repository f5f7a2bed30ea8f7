"""The registry's ledger: an append-only, hash-chained JSONL file of every move of an alias.

Each line holds who moved which alias to which version, when, and by which decision. A line covers
the hash of the line before it, so a changed or deleted line is noticed. It covers the record of its
decision too, without which nobody believes it (models/registry/belief.py).
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol, TypeVar

from data.files import write_text

ORIGIN = "0" * 64


class ChainedLine(Protocol):
    """What a line of a hash-chained file has: its place, the hash before it, and its own."""

    @property
    def seq(self) -> int: ...
    @property
    def prior(self) -> str: ...
    @property
    def hash(self) -> str: ...


Line = TypeVar("Line", bound=ChainedLine)


class LedgerError(RuntimeError):
    """The ledger has been altered or does not belong to this registry."""


class Action(StrEnum):
    """How an entry moved the aliases of its model. The values are stored in the ledger."""

    # The version became champion; the champion before it became previous.
    PROMOTE = "promote"
    # The champion went, and the version, champion before it, is champion again.
    ROLLBACK = "rollback"
    # The version became challenger: the gate accepted it, and it is tried beside the champion.
    CHALLENGE = "challenge"
    # The version is challenger no more, without having become champion.
    WITHDRAW = "withdraw"


class Alias(StrEnum):
    """A name by which MLflow finds a version of a model. The values are stored in MLflow."""

    # The version that answers; only an accepted decision makes one.
    CHAMPION = "champion"
    # The champion before it, to which a rollback goes back.
    PREVIOUS = "previous"
    # A version that the gate accepted and nobody has promoted yet; a rollout may try it.
    CHALLENGER = "challenger"


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One move of an alias. `hash` covers every other field but `signature`.

    `prior` is the hash before it, `signature` that of the owner of the registry's signing key over
    `hash`, `record_sha256` the SHA-256 of the decision record's bytes (empty in old ledgers).

    `version` is the version that was promoted, rolled back to, made challenger or withdrawn, and
    `previous` the champion at that moment (None: there was none). `approved_by` names the person
    who approved a promotion, where the gate's settings ask for one.
    """

    seq: int
    at: str  # ISO 8601, UTC
    action: str  # a value of Action; a newer Keepline may have written one that is not
    name: str
    version: int
    previous: int | None
    bundle_sha256: str
    decision_id: str
    actor: str
    prior: str
    hash: str
    approved_by: str = ""
    record_sha256: str = ""
    signature: str = ""


@dataclass(frozen=True)
class AliasState:
    """Which entries hold the aliases of one model: its champions, present one last, and challenger.

    A rollback takes the last champion off the list, so `champions` are those one can still go back
    to.
    """

    champions: tuple[Entry, ...] = ()
    challenger: Entry | None = None

    @property
    def champion(self) -> Entry | None:
        """The promotion that made the present champion."""
        return self.champions[-1] if self.champions else None

    @property
    def previous(self) -> Entry | None:
        """The promotion that made the champion a rollback goes to."""
        return self.champions[-2] if len(self.champions) > 1 else None

    def version_of(self, alias: str) -> int | None:
        """The version that holds `alias` (a value of Alias), or None."""
        holder: Entry | None = getattr(self, alias)
        return holder.version if holder else None


def replay(entries: Iterable[Entry]) -> AliasState:
    """Applies the entries of one model, oldest first, and returns the state of its aliases.

    Raises LedgerError for an action that this version of Keepline does not know.
    """
    champions: list[Entry] = []
    challenger: Entry | None = None
    for entry in entries:
        if entry.action == Action.PROMOTE:
            champions.append(entry)
        elif entry.action == Action.ROLLBACK:
            if len(champions) < 2:
                raise LedgerError(
                    f"ledger, entry {entry.seq}: there was no champion to roll back to. "
                    "Restore the file from a backup."
                )
            champions.pop()
        elif entry.action == Action.CHALLENGE:
            challenger = entry
        elif entry.action != Action.WITHDRAW:
            raise LedgerError(
                f"ledger, entry {entry.seq}: {entry.action} is no action. "
                "Update Keepline to read it."
            )
        if challenger and entry.action != Action.CHALLENGE and entry.version == challenger.version:
            challenger = None  # it became champion, or was withdrawn
    return AliasState(tuple(champions), challenger)


def digest(value: Any) -> str:
    """Returns the SHA-256 (hex) of `value` as JSON with sorted keys and no spaces."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def read_entries(path: Path) -> list[Entry]:
    """Reads every entry, oldest first, and checks the chain of hashes.

    A last line without its line end is a write that was killed: it never counted and is left out.
    Raises LedgerError naming the first bad line.
    """
    return read_chain(path, lambda fields: Entry(**fields), "an entry", uncovered=("signature",))


def read_chain(
    path: Path, parse: Callable[[dict[str, Any]], Line], what: str, uncovered: Sequence[str] = ()
) -> list[Line]:
    """Reads a file of hash-chained JSON lines, oldest first; none where it is missing.

    `parse` makes a line of its fields, `what` is the line for people. A line's hash covers every
    field but itself and `uncovered`. A last line without its line end is left out. Raises
    LedgerError naming the first bad line.
    """
    if not path.exists():
        return []
    lines: list[Line] = []
    prior = ORIGIN
    text = _whole_lines(path).decode(errors="replace")
    for number, raw in enumerate(text.split("\n")[:-1], start=1):
        try:
            fields: dict[str, Any] = json.loads(raw)
            line = parse(fields)
        except (ValueError, TypeError, KeyError) as error:
            raise LedgerError(
                f"{path}, line {number}: not {what} ({error}). Restore the file from a backup."
            ) from error
        body = {key: value for key, value in fields.items() if key not in ("hash", *uncovered)}
        if line.prior != prior or line.seq != number or line.hash != digest(body):
            raise LedgerError(
                f"{path}, line {number}: altered, its hash does not fit. "
                "Restore the file from a backup."
            )
        prior = line.hash
        lines.append(line)
    return lines


def append_line(path: Path, fields: Mapping[str, Any]) -> None:
    """Adds one JSON line behind the whole ones, and flushes it to disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    whole = len(_whole_lines(path)) if path.exists() else 0
    with path.open("ab") as handle:
        handle.truncate(whole)  # the remains of a write that was killed
        handle.write((json.dumps(fields, sort_keys=True) + "\n").encode())
        handle.flush()
        os.fsync(handle.fileno())


def append_entry(
    path: Path, fields: Mapping[str, Any], sign: Callable[[str], str] = lambda text: ""
) -> Entry:
    """Adds one entry, flushes it to disk and returns it. The caller holds the registry's lease.

    `fields` are those of Entry without seq, prior, hash and signature; `sign` gives the signature of
    a hash. `at` is moved up to that of the entry
    before where a clock was behind: a date then names one champion.
    """
    entries = read_entries(path)
    body = {**fields, "seq": len(entries) + 1, "prior": entries[-1].hash if entries else ORIGIN}
    if entries:
        body["at"] = max(
            datetime.fromisoformat(body["at"]), datetime.fromisoformat(entries[-1].at)
        ).isoformat()
    body.setdefault("approved_by", "")
    body.setdefault("record_sha256", "")
    hashed = digest(body)
    entry = Entry(**body, hash=hashed, signature=sign(hashed))
    append_line(path, asdict(entry))
    return entry


def sign_last_entry(path: Path, sign: Callable[[str], str]) -> Entry | None:
    """Signs the last entry, and with it the chain before it; returns it, None in an empty ledger.

    The caller holds the registry's lease. For ledgers from before there was a key.
    """
    entries = read_entries(path)
    if not entries:
        return None
    signed = replace(entries[-1], signature=sign(entries[-1].hash))
    lines = _whole_lines(path).decode().split("\n")[:-1]
    fields = {**json.loads(lines[-1]), "signature": signed.signature}
    text = "\n".join([*lines[:-1], json.dumps(fields, sort_keys=True)]) + "\n"
    write_text(path, text)
    return signed


def _whole_lines(path: Path) -> bytes:
    data = path.read_bytes()
    return data[: data.rfind(b"\n") + 1]


def decision_id(record: Mapping[str, Any]) -> str:
    """Returns the id a decision record must carry: 16 hex digits over all of it but id and time.

    So the same evidence decided on twice is one decision, and a record that was edited afterwards
    no longer fits its id.
    """
    return digest(
        {key: value for key, value in record.items() if key not in ("decision_id", "decided_at")}
    )[:16]
