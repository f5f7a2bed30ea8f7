"""Bundles: writes and verifies a model as a folder of weights, JSON and a card."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tarfile
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from data.files import file_sha256
from models.asr.nemo_archive import NemoArchiveError, check_nemo
from models.kinds import kind_names
from models.registry.signing import SIGNATURE, SignatureError, check_signature

MANIFEST = "bundle.json"
CARD = "card.md"
# File types a bundle may hold. Weights are .safetensors, or NeMo's .nemo archive; any other type
# could be a pickle.
SUFFIXES = (".nemo", ".safetensors", ".json", ".md", ".txt", ".arpa")


class BundleError(ValueError):
    """A folder is not the bundle its manifest describes."""


@dataclass(frozen=True)
class Bundle:
    """A verified bundle. `sha256` is the checksum of bundle.json, which lists all others."""

    path: Path
    kind: str
    files: dict[str, str]
    data_hash: str
    git_commit: str
    created_at: str
    licence: str
    sha256: str
    params: dict[str, Any] = field(default_factory=dict)

    @property
    def size_bytes(self) -> int:
        """Size of all files of the folder, the manifest included."""
        return sum((self.path / name).stat().st_size for name in (*self.files, MANIFEST))


def write_bundle(
    path: Path,
    kind: str,
    files: Mapping[str, Path | bytes | str],
    *,
    data_hash: str,
    git_commit: str,
    created_at: str,
    licence: str,
    params: Mapping[str, Any] | None = None,
) -> Bundle:
    """Writes the bundle folder `path` whole or not at all and returns it verified.

    `files` maps names to a file to copy, or to its content; `card.md` has to be among them. A
    folder already at `path` is replaced. Raises BundleError when the result would not verify;
    `path` is then untouched.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    building = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    building.mkdir()
    try:
        for name, content in files.items():
            target = building / name
            if target.parent != building or name in (MANIFEST, SIGNATURE):
                raise BundleError(
                    f"bundle {path.name}: '{name}' cannot be a file name in it. Use a plain name."
                )
            if isinstance(content, Path):
                shutil.copyfile(content, target)
            else:
                target.write_bytes(content if isinstance(content, bytes) else content.encode())
        manifest = {
            "kind": kind,
            "files": {name: file_sha256(building / name) for name in sorted(files)},
            "data_hash": data_hash,
            "git_commit": git_commit,
            "created_at": created_at,
            "licence": licence,
            "params": dict(params or {}),
        }
        (building / MANIFEST).write_text(
            json.dumps(manifest, indent=1, sort_keys=True, default=str, ensure_ascii=False) + "\n",
            encoding="utf-8",
        )
        verify_bundle(building)
        for item in building.iterdir():
            with item.open("rb") as handle:
                os.fsync(handle.fileno())
        place_folder(building, path)
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return verify_bundle(path)


def verify_bundle(path: Path, public_key: Path | None = None) -> Bundle:
    """Checks the folder `path` against every rule of a bundle and returns the bundle.

    Raises BundleError, naming the file, for a missing or unreadable manifest, a missing, extra or
    changed file, a link or sub-folder, a file type that may hold a pickle, weights that are not
    what their name says, a hostile `.nemo`, or no model card. With a `public_key` (PEM) it raises
    also for a bundle that the key's owner has not signed.
    """
    where = f"bundle {path.name}"
    manifest_path = path / MANIFEST
    if (
        path.is_symlink()
        or not path.is_dir()
        or manifest_path.is_symlink()
        or not manifest_path.is_file()
    ):
        raise BundleError(f"{where}: no {MANIFEST} in {path}. Train or fetch the model again.")
    raw = manifest_path.read_bytes()
    manifest = _manifest(raw, where)
    files: dict[str, str] = manifest["files"]
    present = {item.name: item for item in path.iterdir() if item.name not in (MANIFEST, SIGNATURE)}
    for name, item in sorted(present.items()):
        if item.is_symlink() or not item.is_file():
            raise BundleError(
                f"{where}: {name} is a link or a folder, not a file. Write the bundle again."
            )
        if name not in files:
            raise BundleError(
                f"{where}: {name} is not in {MANIFEST}. "
                "Remove it, or write the bundle again with it."
            )
    for name, expected in sorted(files.items()):
        if name not in present:
            raise BundleError(f"{where}: {name} is missing. Fetch or write the bundle again.")
        if file_sha256(present[name]) != expected:
            raise BundleError(
                f"{where}: {name} has changed since it was written. "
                "Fetch or write the bundle again."
            )
        _check_type(present[name], where)
    if CARD not in files or not (path / CARD).read_text(encoding="utf-8", errors="replace").strip():
        raise BundleError(
            f"{where}: no model card. Put a {CARD} that says what the model is for among its files."
        )
    if not any(name.endswith((".nemo", ".safetensors")) for name in files):
        raise BundleError(f"{where}: no weights. A bundle holds a .nemo or a .safetensors file.")
    if public_key:
        try:
            check_signature(path, public_key)
        except SignatureError as error:
            raise BundleError(str(error)) from error
    return Bundle(path=path, sha256=hashlib.sha256(raw).hexdigest(), **manifest)


def place_folder(built: Path, path: Path) -> None:
    """Renames the finished folder `built` to `path` (same file system), replacing a folder."""
    old = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.old")
    if path.exists():
        # A folder cannot be renamed over a full one. A crash here leaves no bundle, never half of
        # one.
        path.rename(old)
    built.rename(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    shutil.rmtree(old, ignore_errors=True)


def _manifest(raw: bytes, where: str) -> dict[str, Any]:
    try:
        manifest = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise BundleError(
            f"{where}: {MANIFEST} is not JSON ({error}). Write the bundle again."
        ) from error
    texts = ("kind", "data_hash", "git_commit", "created_at", "licence")
    if not isinstance(manifest, dict) or set(manifest) != {*texts, "files", "params"}:
        raise BundleError(
            f"{where}: {MANIFEST} must have exactly {', '.join((*texts, 'files', 'params'))}."
        )
    if (
        any(not isinstance(manifest[key], str) for key in texts)
        or manifest["kind"] not in kind_names()
    ):
        raise BundleError(
            f"{where}: in {MANIFEST} {', '.join(texts)} are texts "
            f"and kind is one of {', '.join(kind_names())}."
        )
    files = manifest["files"]
    if not isinstance(files, dict) or any(not isinstance(value, str) for value in files.values()):
        raise BundleError(f"{where}: files in {MANIFEST} must map names to checksums.")
    for name in files:
        if Path(name).name != name or name in (MANIFEST, SIGNATURE):
            raise BundleError(
                f"{where}: {MANIFEST} lists '{name}', which is not a plain file name."
            )
    if not isinstance(manifest["params"], dict):
        raise BundleError(f"{where}: params in {MANIFEST} must be an object.")
    return manifest


def _check_type(path: Path, where: str) -> None:
    """Raises BundleError for a file type that may be a pickle, or content its name does not say."""
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise BundleError(
            f"{where}: {path.name} may hold a pickle. Allowed: {', '.join(SUFFIXES)}."
        )
    if suffix == ".nemo":
        is_what_it_says = tarfile.is_tarfile(path)
        if is_what_it_says:
            try:
                check_nemo(path)
            except NemoArchiveError as error:
                raise BundleError(f"{where}: {error}") from error
    elif suffix == ".safetensors":
        is_what_it_says = _is_safetensors(path)
    else:
        with path.open("rb") as handle:
            is_what_it_says = b"\x00" not in handle.read(4096)
    if not is_what_it_says:
        raise BundleError(
            f"{where}: {path.name} is not what its name says. Write the bundle again."
        )


def _is_safetensors(path: Path) -> bool:
    """True for 8 bytes of header length, then a JSON header that fits in the file."""
    with path.open("rb") as handle:
        length = int.from_bytes(handle.read(8), "little")
        if not 2 <= length <= path.stat().st_size - 8:
            return False
        try:
            return isinstance(json.loads(handle.read(length)), dict)
        except (ValueError, RecursionError):  # not JSON, or nested deeper than anyone can read
            return False
