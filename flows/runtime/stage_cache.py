"""A step that has run leaves a marker; a step whose inputs, settings and code are the same is not run again.

The marker is written last and holds a fingerprint of everything the step depends on. A kill before it leaves no
marker, so the step is redone; steps are idempotent, so redoing one loses and doubles nothing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data import artefacts
from data.files import read_json, write_json
from flows.runtime import code
from flows.runtime.graph import Stage
from flows.runtime.settings import ROOT

if TYPE_CHECKING:
    from flows.runtime.context import RunContext

MARKERS = artefacts.MARKERS.path


def digest(path: Path) -> str:
    """BLAKE2b of a file, or of the names and contents below a folder; "absent" where there is nothing."""
    if path.is_file():
        with path.open("rb") as handle:
            return hashlib.file_digest(handle, "blake2b").hexdigest()[:32]
    if not path.exists():
        return "absent"
    combined = hashlib.blake2b(digest_size=16)
    for file in sorted(path.rglob("*")):
        if (
            file.is_file()
            and "__pycache__" not in file.parts
            and not file.name.endswith((".pyc", ".tmp"))
        ):
            combined.update(str(file.relative_to(path)).encode())
            combined.update(digest(file).encode())
    return combined.hexdigest()


def fingerprint(parts: Mapping[str, Path], settings: Any) -> str:
    """One hash over the contents of `parts`, each under a name that says nothing of where it lies, and `settings`."""
    contents = sorted((name, digest(path)) for name, path in parts.items())
    text = json.dumps([contents, settings], sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def without_places(settings: Any) -> Any:
    """Settings with the digest of its content in place of each path they name, relative to the checkout.

    What is in such a file or folder decides the result; where it lies does not.
    """
    if isinstance(settings, str):
        path = ROOT / settings
        named = path.is_file() or ("/" in settings and path.is_dir())
        return f"content {digest(path)}" if named else settings
    if isinstance(settings, dict):
        return {name: without_places(value) for name, value in settings.items()}
    if isinstance(settings, list | tuple):
        return [without_places(value) for value in settings]
    return settings


def stage_fingerprint(context: RunContext, stage: Stage) -> str:
    """What a stage's result depends on: its needs, its code, its parameters and the files that they name."""
    parts = {f"store/{need}": context.path(need) for need in stage.needs}
    if artefacts.RAW in stage.needs:
        parts[f"store/{artefacts.RAW}"] = context.raw
    for function in (stage.function, *stage.hooks):
        parts |= {f"code/{file.as_posix()}": ROOT / file for file in code.files_of(function)}
    sections = {name: asdict(getattr(context.params, name)) for name in stage.params}
    source = context.source if artefacts.RAW in stage.needs else ""
    settings = {"stage": stage.name, "source": source, **without_places(sections)}
    return fingerprint(parts, settings)


def is_current(store: Path, stage: str, expected: str, outs: Iterable[Path]) -> bool:
    """Whether the step's marker holds this fingerprint and everything it promised to write is there."""
    path = store / MARKERS / f"{stage}.json"
    if not path.exists() or not all(out.exists() for out in outs):
        return False
    try:
        return bool(read_json(path)["fingerprint"] == expected)
    except (ValueError, KeyError):
        return False


def forget(store: Path, stage: str) -> None:
    """Makes the step run again, whatever it left."""
    (store / MARKERS / f"{stage}.json").unlink(missing_ok=True)


def run_once(
    store: Path, stage: str, expected: str, outs: list[Path], run: Callable[[], dict[str, Any]]
) -> tuple[dict[str, Any], bool]:
    """Runs `run` unless its marker is current. Returns the summary and whether it was reused."""
    path = store / MARKERS / f"{stage}.json"
    if is_current(store, stage, expected, outs):
        return read_json(path)["summary"], True
    forget(store, stage)
    summary = run()
    missing = [str(out) for out in outs if not out.exists()]
    if missing:
        raise RuntimeError(
            f"step {stage}: promised {missing[0]} and did not write it. This is a fault of Keepline's."
        )
    write_json(path, {"fingerprint": expected, "summary": summary})
    return summary, False
