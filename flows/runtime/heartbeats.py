"""Ends runs that were killed as failed, stops those that hang, and notifies people.

A process that runs holds the lock of a small file in the store's `.running`. The kernel frees the
lock when the process dies, however it dies, so a free lock is the proof and no clock is needed.
Processes must share the store's file system to see each other's locks.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data import artefacts
from flows.runtime import notifications

if TYPE_CHECKING:
    from flows.runtime.settings import Settings

log = logging.getLogger(__name__)
FOLDER = artefacts.RUNNING.path
DYING_S = 10.0  # how long a killed process may take to be gone
# The heartbeats this process holds. They are not even opened: closing a file frees every POSIX lock
# its process has on it.
_OWN: set[Path] = set()


@dataclass(frozen=True)
class Heartbeat:
    """An MLflow run ("run") or a flow on a Prefect server ("flow") that a process works on."""

    what: str
    id: str
    name: str
    # the tracking URI, or the address of Prefect's API; empty where Prefect has no server
    place: str
    pid: int
    host: str
    since: str


@contextmanager
def heartbeat(store: Path, what: str, id: str, name: str, place: str) -> Iterator[None]:
    """Holds the heartbeat while the block runs.

    The same thing taken up again after a kill replaces the old file.
    """
    folder = store / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{what}-{id}.json"
    beat = Heartbeat(
        what, id, name, place, os.getpid(), socket.gethostname(), datetime.now(UTC).isoformat()
    )
    # Locked under another name first, so that a file that can be seen is locked. POSIX locks, since
    # those of flock() would be kept by forked helpers that outlive their parent.
    hidden = path.with_suffix(f".{os.getpid()}.tmp")
    with hidden.open("w", encoding="utf-8") as handle:
        fcntl.lockf(handle, fcntl.LOCK_EX)
        handle.write(json.dumps(asdict(beat)))
        handle.flush()
        own = path.resolve()
        _OWN.add(own)
        hidden.rename(path)
        try:
            yield
        finally:
            path.unlink(missing_ok=True)
            _OWN.discard(own)


def reap(settings: Settings) -> list[Heartbeat]:
    """Looks once at every heartbeat; returns those of dead processes, ended and notified of.

    What has run longer than `longest_run_s` is killed first. Where the end cannot be recorded (a
    server that does not answer) the heartbeat stays for the next look.
    """
    ended: list[tuple[Heartbeat, str]] = []
    for path in sorted((settings.store / FOLDER).resolve().glob("*.json")):
        if path in _OWN:
            continue
        try:
            with path.open("r+", encoding="utf-8") as handle:
                beat = Heartbeat(**json.loads(handle.read()))
                why = (
                    "its process was killed"
                    if _acquire_lock(handle)
                    else _stop_if_stuck(beat, handle, settings.longest_run_s)
                )
                # A file that is gone, or another by now, was removed by its process, which so
                # ended as it should.
                if why and path.stat().st_ino == os.fstat(handle.fileno()).st_ino:
                    if _mark_failed(beat, why):
                        ended.append((beat, why))
                    path.unlink()
        except FileNotFoundError:
            continue  # it ended meanwhile, as it should
        except (ValueError, TypeError) as error:
            log.error("%s: not a heartbeat (%s). Remove it.", path, error)
        except Exception as error:
            # Whatever a server's client raises, the other heartbeats are looked at all the same.
            log.error(
                "%s could not be ended as failed, next look tries again: %s", path.stem, error
            )
    for pid, host in dict.fromkeys((beat.pid, beat.host) for beat, _ in ended):
        of_process = [(beat, why) for beat, why in ended if (beat.pid, beat.host) == (pid, host)]
        body = "".join(
            f"{beat.what} {beat.name} ({beat.id}), since {beat.since}: {why}.\n"
            for beat, why in of_process
        )
        notifications.notify(
            settings,
            f"{of_process[-1][0].name} ended as failed",
            f"{body}Process {pid} on {host}, store {settings.store}. Start the same command "
            "again: finished stages are "
            "kept, training goes on from its last checkpoint.",
        )
    return [beat for beat, _ in ended]


def _acquire_lock(handle: Any) -> bool:
    """Takes the lock if nobody holds it, until the file is closed; returns whether it did."""
    try:
        fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _stop_if_stuck(beat: Heartbeat, handle: Any, longest_s: float) -> str:
    """Kills a process that has run too long on this machine and waits until it is gone.

    Returns the reason, or "" where it may go on. Raises RuntimeError when it does not die.
    """
    age_s = (datetime.now(UTC) - datetime.fromisoformat(beat.since)).total_seconds()
    if age_s <= longest_s or beat.host != socket.gethostname() or beat.pid == os.getpid():
        return ""  # with our own number it lives in a container, where numbers begin at 1 again
    # The lock is held, so its process lives and the number is still its own.
    with contextlib.suppress(ProcessLookupError):
        os.kill(beat.pid, signal.SIGKILL)
    end = time.monotonic() + DYING_S
    while time.monotonic() < end:
        if _acquire_lock(handle):
            return f"it was stopped after {age_s:.0f} s, more than the {longest_s:.0f} allowed"
        time.sleep(0.05)
    raise RuntimeError(f"process {beat.pid} was killed and holds on")


def _mark_failed(beat: Heartbeat, why: str) -> bool:
    """Marks it as failed where it is recorded as running; returns False when it had ended well."""
    if beat.what == "run":
        from training.tracking import mark_failed

        return mark_failed(beat.place, beat.id, why)
    return _mark_crashed(beat, why) if beat.place else True


def _mark_crashed(beat: Heartbeat, why: str) -> bool:
    """Sets the state of a flow run on its Prefect server, unless the worker has.

    Returns False when it had ended well.
    """
    from uuid import UUID

    from prefect.client.orchestration import get_client
    from prefect.exceptions import ObjectNotFound
    from prefect.settings import PREFECT_API_URL, temporary_settings
    from prefect.states import Crashed

    with (
        temporary_settings(updates={PREFECT_API_URL: beat.place}),
        get_client(sync_client=True) as client,
    ):
        try:
            state = client.read_flow_run(UUID(beat.id)).state
        except ObjectNotFound:
            return False
        if state is not None and state.is_final():
            return not state.is_completed()
        client.set_flow_run_state(
            UUID(beat.id), Crashed(message=f"Ended by Keepline: {why}."), force=True
        )
        return True
