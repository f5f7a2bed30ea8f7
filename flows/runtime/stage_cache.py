"""A step that has run leaves a marker; a step whose inputs, settings and code are the same is not run again.

The marker is written last and holds a fingerprint of everything the step depends on. A kill before it leaves no
marker, so the step is redone; steps are idempotent, so redoing one loses and doubles nothing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data.files import read_json, write_json
from flows.runtime.graph import Stage
from flows.runtime.settings import ROOT

if TYPE_CHECKING:
    from flows.runtime.context import RunContext

MARKERS = ".markers"


def digest(path: Path) -> str:
    """BLAKE2b of a file, or of the names and contents below a folder; "absent" where there is nothing."""
    if path.is_file():
        with path.open("rb") as handle:
            return hashlib.file_digest(handle, "blake2b").hexdigest()[:32]
    if not path.exists():
        return "absent"
    found = hashlib.blake2b(digest_size=16)
    for file in sorted(path.rglob("*")):
        if (
            file.is_file()
            and "__pycache__" not in file.parts
            and not file.name.endswith((".pyc", ".tmp"))
        ):
            found.update(str(file.relative_to(path)).encode())
            found.update(digest(file).encode())
    return found.hexdigest()


def fingerprint(paths: Iterable[Path], settings: Any) -> str:
    """One hash over the contents of `paths` and the JSON of `settings`."""
    parts = [(path.name, digest(path)) for path in sorted(paths)]
    return hashlib.blake2b(
        json.dumps([parts, settings], sort_keys=True, default=str).encode(), digest_size=16
    ).hexdigest()


def named_in(settings: Any) -> list[Path]:
    """The files and folders that settings name by a path: what is in them decides the result too."""
    if isinstance(settings, str):
        path = ROOT / settings
        return [path] if path.is_file() or ("/" in settings and path.is_dir()) else []
    inside = (
        settings.values()
        if isinstance(settings, dict)
        else settings
        if isinstance(settings, list | tuple)
        else ()
    )
    return [path for value in inside for path in named_in(value)]


def stage_fingerprint(context: RunContext, step: Stage) -> str:
    """What a step's result depends on: its needs, its code, its sections of params.yaml and the files they name."""
    needs = [context.raw if need == "raw" else context.path(need) for need in step.needs]
    code = [ROOT / path for path in step.code]
    settings = {section: asdict(getattr(context.params, section)) for section in step.params}
    return fingerprint(
        needs + code + named_in(settings),
        {"step": step.name, "source": context.source if "raw" in step.needs else "", **settings},
    )


def is_current(store: Path, step: str, wanted: str, outs: Iterable[Path]) -> bool:
    """Whether the step's marker holds this fingerprint and everything it promised to write is there."""
    path = store / MARKERS / f"{step}.json"
    if not path.exists() or not all(out.exists() for out in outs):
        return False
    try:
        return bool(read_json(path)["fingerprint"] == wanted)
    except (ValueError, KeyError):
        return False


def forget(store: Path, step: str) -> None:
    """Makes the step run again, whatever it left."""
    (store / MARKERS / f"{step}.json").unlink(missing_ok=True)


def run_once(
    store: Path, step: str, wanted: str, outs: list[Path], run: Callable[[], dict[str, Any]]
) -> tuple[dict[str, Any], bool]:
    """Runs `run` unless its marker is current. Returns the summary and whether it was reused."""
    path = store / MARKERS / f"{step}.json"
    if is_current(store, step, wanted, outs):
        return read_json(path)["summary"], True
    forget(store, step)
    summary = run()
    missing = [str(out) for out in outs if not out.exists()]
    if missing:
        raise RuntimeError(
            f"step {step}: promised {missing[0]} and did not write it. This is a fault of Keepline's."
        )
    write_json(path, {"fingerprint": wanted, "summary": summary})
    return summary, False
