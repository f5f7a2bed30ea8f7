"""Reuses a stage's result while its inputs, settings and code stay the same.

A finished stage leaves a marker, written last, with a fingerprint of everything the stage depends
on. A kill before it leaves no marker, so the stage runs again. Stages are idempotent, so running
one again loses and doubles nothing.
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
from flows.runtime.settings import ROOT, checkout_file

if TYPE_CHECKING:
    from flows.runtime.context import RunContext

MARKERS = artefacts.MARKERS.path


def digest(path: Path) -> str:
    """Returns BLAKE2b of a file, or of the names and contents below a folder.

    Returns "absent" where there is nothing.
    """
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


Contents = list[tuple[str, str]]  # name and digest of each part that a stage depends on


def digests(parts: Mapping[str, Path]) -> Contents:
    """Returns the digests of `parts`; a name does not depend on where its part lies."""
    return sorted((name, digest(path)) for name, path in parts.items())


def fingerprint(contents: Contents, settings: Any) -> str:
    """Returns one hash over `contents` and `settings`."""
    text = json.dumps([contents, settings], sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def without_places(settings: Any) -> Any:
    """Returns settings with each path they name replaced by the digest of its content.

    Paths are relative to the checkout. What is in such a file or folder decides the result; where
    it lies does not.
    """
    if isinstance(settings, str):
        path = checkout_file(settings)
        named = path.is_file() or ("/" in settings and path.is_dir())
        return f"content {digest(path)}" if named else settings
    if isinstance(settings, dict):
        return {name: without_places(value) for name, value in settings.items()}
    if isinstance(settings, list | tuple):
        return [without_places(value) for value in settings]
    return settings


def stage_fingerprint(context: RunContext, stage: Stage, contents: Contents | None = None) -> str:
    """Returns a hash of what a stage's result depends on.

    That is its needs, its code, its parameters and the files that these name. `contents` are those
    of `stage_contents`, where they are known already.
    """
    contents = stage_contents(context, stage) if contents is None else contents
    sections = {name: asdict(getattr(context.params, name)) for name in stage.params}
    source = context.source if artefacts.RAW in stage.needs else ""
    settings = {"stage": stage.name, "source": source, **without_places(sections)}
    return fingerprint(contents, settings)


def stage_contents(context: RunContext, stage: Stage) -> Contents:
    """Returns the digests of the stage's needs and code. Reads all of them."""
    parts = {f"store/{need}": context.path(need) for need in stage.needs}
    if artefacts.RAW in stage.needs:
        parts[f"store/{artefacts.RAW}"] = context.raw
    for function in (stage.function, *stage.hooks):
        parts |= {f"code/{file.as_posix()}": ROOT / file for file in code.files_of(function)}
    return digests(parts)


def is_current(store: Path, stage: str, expected: str, outs: Iterable[Path]) -> bool:
    """Returns whether the stage's marker holds this fingerprint and all its outputs are there."""
    path = store / MARKERS / f"{stage}.json"
    if not path.exists() or not all(out.exists() for out in outs):
        return False
    try:
        return bool(read_json(path)["fingerprint"] == expected)
    except (ValueError, KeyError):
        return False


def forget(store: Path, stage: str) -> None:
    """Makes the stage run again, whatever it left."""
    (store / MARKERS / f"{stage}.json").unlink(missing_ok=True)


def run_once(
    store: Path, stage: str, expected: str, outs: list[Path], run: Callable[[], dict[str, Any]]
) -> tuple[dict[str, Any], bool]:
    """Runs `run` unless its marker is current; returns the summary and whether it was reused.

    Raises RuntimeError when an output was not written.
    """
    path = store / MARKERS / f"{stage}.json"
    if is_current(store, stage, expected, outs):
        return read_json(path)["summary"], True
    forget(store, stage)
    summary = run()
    missing = [str(out) for out in outs if not out.exists()]
    if missing:
        raise RuntimeError(
            f"stage {stage}: promised {missing[0]} and did not write it. This is a fault of "
            "Keepline's."
        )
    write_json(path, {"fingerprint": expected, "summary": summary})
    return summary, False
