"""Puts a store right that was copied, moved or restored to another path than its places name."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from data import artefacts
from data.files import write_text
from flows.runtime.lease import lease
from flows.runtime.settings import Settings
from flows.runtime.store_record import StoreRecord, holds_simulated, read_record, write_record

# Small text files that name places in the store.
_TEXTS = ("versioned/.dvc/config", "serving/*.json", ".running/run-*.json")
# Flows that ran at the old place. Whether they still do cannot be seen from here.
_FLOWS = ".running/flow-*.json"


def settle(settings: Settings) -> None:
    """Rewrites the places in a store that is not where it was made, and says so on stderr.

    Nothing happens to a store that is where it was. Without it MLflow would write a moved store's
    artifacts into the old place. Raises LeaseHeldError where somebody works in the store at its
    other path, OSError naming a file that may not be written.
    """
    store = settings.store
    if not _former(settings):
        return
    with lease(store, holder=f"moving the places of {store.name}"):
        for old in _former(settings):  # asked again: another may have done it meanwhile
            places = _move(settings, old)
            print(
                f"store {store}: it was at {old}. {places} places in it were rewritten; nothing "
                "goes there any more.",
                file=sys.stderr,
            )


def _former(settings: Settings) -> list[Path]:
    """Returns where a store was, [] where it is still there."""
    from training.artifact_places import former_stores

    record = read_record(settings.store)
    if record is not None:
        return [Path(record.made_at)] if record.made_at != str(settings.store) else []
    database = _own_database(settings)
    return sorted(former_stores(database)) if database else []


def _own_database(settings: Settings) -> Path | None:
    """Returns MLflow's database in the store, None where runs are kept elsewhere."""
    path = settings.store / artefacts.MLFLOW.path
    return path if path.is_file() and settings.tracking_uri == f"sqlite:///{path}" else None


def _move(settings: Settings, old: Path) -> int:
    from training.artifact_places import move_places

    store, database = settings.store, _own_database(settings)
    places = move_places(database, old, store) if database else 0
    for path in (path for pattern in _TEXTS for path in sorted(store.glob(pattern))):
        text = path.read_text(encoding="utf-8")
        moved = text.replace(f"{old}/", f"{store}/")
        moved = moved.replace(f"{_in_json(old)}/", f"{_in_json(store)}/")
        if moved != text:
            write_text(path, moved)
            places += 1
    for path in store.glob(_FLOWS):
        path.unlink()
    # Last: whoever is killed before this begins again.
    now = datetime.now(UTC).isoformat(timespec="seconds")
    record = read_record(store) or StoreRecord(
        site=old.name,
        declared=False,
        simulated=holds_simulated(store),
        export=None,
        made_at=str(old),
        created=now,
    )
    move = {"from": str(old), "to": str(store), "at": now}
    write_record(store, replace(record, made_at=str(store), moves=(*record.moves, move)))
    return places


def _in_json(path: Path) -> str:
    return json.dumps(str(path))[1:-1]
