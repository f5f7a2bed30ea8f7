"""Names the active model: the one in use until further notice."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data import artefacts
from data.files import read_json, write_json
from flows.candidate.kind_stages import stages_of
from models.kinds import kind_of

if TYPE_CHECKING:
    from flows.runtime.context import RunContext

_UNDECIDED = "none"  # the verdict before any


def write_active_model(context: RunContext, kind: str) -> dict[str, Any]:
    """Writes active/<kind>.json and returns its content: the model in use, with its path.

    That is the champion, so that a rollback takes effect in the next run. Before there is one, it
    is the candidate if the gate accepted it and nobody has to approve it, else the kind's own
    fallback, else what the candidate failed to beat (`path` None: nothing). An experiment that no
    run has gone before knows no decision: there it is the baseline.
    """
    decide = context.original(artefacts.DECIDE.of(kind))
    decided = read_json(decide) if decide.exists() else _undecided(context, kind)
    registry = context.registry()
    version = registry.alias(kind, "champion")
    bundle: Path | None
    message = ""
    if version is not None:
        bundle = registry.fetch(kind, version, context.path(artefacts.FETCHED)).path
    elif _accepted(context, kind, decided):
        bundle = context.path(artefacts.BUNDLE.of(kind))
    elif decided["verdict"] == _UNDECIDED:
        bundle = None
    else:
        bundle, message = stages_of(kind).fallback(context, decided)
    if bundle is None:
        active = {
            "model": decided["reference"]["model"],
            "version": None,
            "path": decided["reference"]["path"],
        }
    else:
        active = {
            "model": f"{kind} v{version}" if version else "the candidate",
            "version": version,
            "path": context.stored(kind_of(kind).weights_in(bundle)),
        }
        if version is None:  # its path stays the same when it is trained again
            active["bundle_sha256"] = decided["candidate"]
    if message:
        active["says"] = message
    path = context.path(artefacts.ACTIVE.of(kind))
    if not path.exists() or read_json(path) != active:
        write_json(path, active)
    return active


def _undecided(context: RunContext, kind: str) -> dict[str, Any]:
    """Returns what stands for a decision before the first one."""
    return {"verdict": _UNDECIDED, "reference": stages_of(kind).baseline(context)}


def _accepted(context: RunContext, kind: str, decided: Mapping[str, Any]) -> bool:
    """Returns whether the gate accepted the very bundle that lies in the store, for anyone."""
    if decided["verdict"] != "accepted" or decided["approval"] != "none":
        return False
    trained = read_json(context.original(artefacts.TRAIN.of(kind)))
    return bool(trained["bundle_sha256"] == decided["candidate"])


def active_model_path(context: RunContext, kind: str) -> Path | None:
    """Returns where the active model lies, as a loader of its kind takes it; None without one."""
    path = read_json(context.path(artefacts.ACTIVE.of(kind)))["path"]
    return None if path is None else context.original(path)
