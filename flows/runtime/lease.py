"""One lease a store: whoever writes holds it, another waits for it by name or is refused.

The proof is a lock of the kernel, which frees it when the holder dies, however it dies. Beside it
lies a small file that says who holds it and since when. POSIX locks are used, since those of
flock() are kept by forked helpers that outlive their parent. They belong to a process, so one
process is one holder: what it does in threads, and what it starts, works under its lease.

Byte 0 of the lock is the lease. Processes that the holder started hold byte 1, shared. So a new
holder also waits for those that a killed one left behind.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Protocol

from data import artefacts
from data.files import write_json

COMMAND_WAIT_S = 600.0  # how long what a person typed waits, unless --wait says otherwise
SCHEDULE_WAIT_S = 6 * 3600.0  # how long what a schedule started waits
TOKENS = "KEEPLINE_LEASE"  # set for what a holder starts: the leases it works under
_POLL_S = 0.2
_SAY_AGAIN_S = 60.0
_HOLDER, _HELPERS = 0, 1  # bytes of the lock


class InStore(Protocol):
    """What lies in a store, as a RunContext or Settings does."""

    @property
    def store(self) -> Path:
        """The folder all artefacts lie in."""
        ...


class LeaseHeldError(RuntimeError):
    """Somebody else works on the store."""


@dataclass(frozen=True)
class Holder:
    """Who holds a lease."""

    what: str  # for people: "retrain acme"
    pid: int
    host: str
    since: str
    token: str  # known to the holder and what it starts

    def __str__(self) -> str:
        return f"{self.what} (process {self.pid} on {self.host}, since {self.since})"


@dataclass
class _Held:
    """A lease that this process holds, or works under as a helper of its holder."""

    handle: IO[str]
    token: str = ""  # "" for a helper
    depth: int = 1


_held: dict[Path, _Held] = {}
_patience_s = SCHEDULE_WAIT_S
_guard = threading.Lock()


def _after_fork() -> None:
    """A forked process has none of its parent's locks. Like any other that it starts it is a helper."""
    global _guard
    _guard = threading.Lock()
    for ours in _held.values():
        ours.handle.close()
    _held.clear()


os.register_at_fork(after_in_child=_after_fork)


def say_on_stderr(text: str) -> None:
    """Prints a message where it cannot mix with results."""
    print(text, file=sys.stderr, flush=True)


def set_patience(wait_s: float) -> None:
    """Sets how long this process waits for a lease where it is not said."""
    global _patience_s
    _patience_s = wait_s


@contextmanager
def lease(
    where: InStore | Path,
    *,
    holder: str,
    wait_s: float | None = None,
    say: Callable[[str], None] = say_on_stderr,
) -> Iterator[None]:
    """Holds the store's lease while the block runs.

    `where` is a RunContext, or a store's folder, which is made. `holder` is said to whoever waits.
    Within the block the same process, and what it starts, may take the lease again. `say` is told
    whom this waits for. Raises LeaseHeldError naming the holder when `wait_s` are over (default:
    what `set_patience` was given, else as long as a schedule waits).
    """
    store = (where if isinstance(where, Path) else where.store).resolve()
    _enter(store, holder, _patience_s if wait_s is None else wait_s, say)
    try:
        yield
    finally:
        _leave(store)


def current_holder(store: Path) -> Holder | None:
    """Returns who holds the lease of a store, None where nobody does. Takes nothing."""
    folder = store.resolve() / artefacts.LEASE.path
    path = folder / "lock"
    if not path.exists():
        return None
    with _guard:
        if store.resolve() not in _held:
            with path.open("r+", encoding="utf-8") as handle:
                if _lock(handle, _HOLDER):
                    return None
        return _read_holder(folder)


def _enter(store: Path, what: str, wait_s: float, say: Callable[[str], None]) -> None:
    """Takes the lease, or counts once more that this process has it."""
    end, said = time.monotonic() + wait_s, float("-inf")
    while True:
        with _guard:
            ours = _held.get(store)
            if ours is not None:
                ours.depth += 1
                return
            blocker = _try(store, what)
        if not blocker:
            return
        now = time.monotonic()
        if now >= end:
            raise LeaseHeldError(
                f"store {store}: {blocker} works on it. Start again when that has ended, or wait "
                "longer (--wait SECONDS)."
            )
        if now - said >= _SAY_AGAIN_S:
            say(f"store {store}: waiting for {blocker}")
            said = now
        time.sleep(min(_POLL_S, max(end - now, 0.01)))


def _try(store: Path, what: str) -> str:
    """Takes the lease if it is free, or if this process is a helper of its holder.

    Returns who is in the way, "" where nobody is.
    """
    folder = store / artefacts.LEASE.path
    folder.mkdir(parents=True, exist_ok=True)
    # Never closed while the lease is held: closing any handle of a file frees all POSIX locks that
    # its process has on it.
    handle = (folder / "lock").open("a+", encoding="utf-8")
    try:
        if _lock(handle, _HOLDER):
            if not _lock(handle, _HELPERS):
                handle.close()
                return f"what {_read_holder(folder) or 'a killed process'} left running"
            _unlock(handle, _HELPERS)
            token = uuid.uuid4().hex
            write_json(folder / "holder.json", asdict(_holder(what, token)))
            _held[store] = _Held(handle, token)
            os.environ[TOKENS] = " ".join([*_tokens(), token])
            return ""
        if _lock(handle, _HELPERS, shared=True):
            # Asked under the helpers' lock: from here on a new holder waits for this process.
            holder = _read_holder(folder)
            if holder is not None and holder.token in _tokens() and not _lock(handle, _HOLDER):
                _held[store] = _Held(handle)
                return ""
        handle.close()
        return str(_read_holder(folder) or "a process that says no name")
    except BaseException:
        handle.close()
        raise


def _leave(store: Path) -> None:
    with _guard:
        ours = _held.get(store)
        if ours is None:
            return  # forked within the block
        ours.depth -= 1
        if ours.depth:
            return
        del _held[store]
        if left := [token for token in _tokens() if token != ours.token]:
            os.environ[TOKENS] = " ".join(left)
        else:
            os.environ.pop(TOKENS, None)
        ours.handle.close()  # frees the lock


def _holder(what: str, token: str) -> Holder:
    since = datetime.now(UTC).isoformat(timespec="seconds")
    return Holder(what, os.getpid(), socket.gethostname(), since, token)


def _read_holder(folder: Path) -> Holder | None:
    try:
        return Holder(**json.loads((folder / "holder.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def _tokens() -> list[str]:
    return os.environ.get(TOKENS, "").split()


def _lock(handle: IO[str], byte: int, *, shared: bool = False) -> bool:
    """Locks one byte if nobody else has it; returns whether it did."""
    how = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    try:
        fcntl.lockf(handle, how | fcntl.LOCK_NB, 1, byte)
    except OSError:
        return False
    return True


def _unlock(handle: IO[str], byte: int) -> None:
    fcntl.lockf(handle, fcntl.LOCK_UN, 1, byte)
