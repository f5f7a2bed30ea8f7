"""Packs recordings into deterministic tar files: new calls add shards, a change rewrites one.

The same recordings give the same bytes (GNU tar, members sorted, no times, no owner), so DVC moves
only what changed.
"""

from __future__ import annotations

import functools
import hashlib
import io
import os
import re
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO

import polars as pl

from data.files import atomic, file_name
from data.progress import Progress

SHARD = re.compile(r"\d{5,}\.tar")
LEFTOVER = re.compile(r"\.\d{5,}\.tar\.[0-9a-f]+\.tmp")


class ShardError(ValueError):
    """A shard does not hold what the recordings table says. The message names shard and member."""


def member_name(contact_id: str, path: Path) -> str:
    """Returns a recording's name in its shard: that of the contact's id, with the file's suffix."""
    return file_name(contact_id, path.suffix.lower())


def recording_reader(recordings: pl.DataFrame, shards: Path) -> Callable[[str], bytes]:
    """Returns a function from contact_id to the recording's bytes as delivered."""
    place = {
        row["contact_id"]: (row["shard"], row["member"]) for row in recordings.iter_rows(named=True)
    }
    return lambda contact_id: read_member(shards, *place[contact_id])


def add_shards(
    shards: Path,
    members: Mapping[str, Path],
    *,
    first: int,
    shard_mb: int,
    progress: Progress = lambda done, total: None,
) -> dict[str, tuple[str, str]]:
    """Packs `members` (name → file) into new shards numbered from `first`, up to `shard_mb` MB.

    A shard holds at least one file. Returns name → (shard, SHA-256 of what was packed).
    `progress` counts members.
    """
    batches: list[list[str]] = []
    room = 0
    for name in sorted(members):
        size = members[name].stat().st_size
        if not batches or size > room:
            batches.append([])
            room = shard_mb * 1_000_000
        batches[-1].append(name)
        room -= size
    placed: dict[str, tuple[str, str]] = {}
    for number, batch in enumerate(batches, start=first):
        shard = f"{number:05d}.tar"
        hashes = _write(shards / shard, {name: members[name] for name in batch})
        placed |= {name: (shard, sha256) for name, sha256 in hashes.items()}
        progress(len(placed), len(members))
    return placed


def rewrite_shard(
    shards: Path, shard: str, members: Mapping[str, Path], *, drop: set[str] | None = None
) -> dict[str, str]:
    """Rewrites one shard with `members` (name → file) replaced or added, and without `drop`.

    Returns name → SHA-256 of what was packed. All other members keep their bytes.
    """
    path = shards / shard
    out = set(members) | (drop or set())
    unchanged = {
        name: read_member(shards, shard, name) for name in shard_index(path) if name not in out
    }
    return {
        name: sha256
        for name, sha256 in _write(path, {**unchanged, **members}).items()
        if name in members
    }


def shard_index(path: Path) -> dict[str, tuple[int, int]]:
    """Returns member → (offset of its first byte, size in bytes), from the tar's headers alone.

    Cached while the file is unchanged. Raises ShardError when the file is missing or not a
    whole tar.
    """
    try:
        stat = path.stat()
    except FileNotFoundError as error:
        raise ShardError(
            f"{path}: no such shard. Check out its version again, or ingest again."
        ) from error
    return _index(path, inode=stat.st_ino, mtime_ns=stat.st_mtime_ns, size=stat.st_size)


@functools.lru_cache(maxsize=256)
def _index(path: Path, *, inode: int, mtime_ns: int, size: int) -> dict[str, tuple[int, int]]:
    try:
        with tarfile.open(path, "r:") as tar:
            return {
                info.name: (info.offset_data, info.size) for info in tar
            }  # raises where members end early
    except tarfile.TarError as error:
        raise ShardError(
            f"{path}: not a whole tar ({error}). Check out its version again, or ingest again."
        ) from error


def is_readable(path: Path) -> bool:
    """Returns whether there is a whole shard at `path`."""
    try:
        shard_index(path)
    except ShardError:
        return False
    return True


def read_member(shards: Path, shard: str, member: str) -> bytes:
    """Returns the bytes of one recording, as delivered, without reading the rest of its shard.

    Raises ShardError when shard or member is missing.
    """
    members = shard_index(shards / shard)
    if member not in members:
        raise ShardError(f"{shards / shard}: no member {member!r}. Ingest its source again.")
    offset, size = members[member]
    with (shards / shard).open("rb") as handle:
        return os.pread(handle.fileno(), size, offset)


def verify(
    shards: Path,
    recordings: pl.DataFrame,
    progress: Progress = lambda done, total: None,
) -> list[str]:
    """Reads every recording of the table and returns those missing or unlike their SHA-256."""
    problems = []
    for done, row in enumerate(recordings.sort("shard", "member").iter_rows(named=True), start=1):
        try:
            audio = read_member(shards, row["shard"], row["member"])
            if hashlib.sha256(audio).hexdigest() != row["sha256"]:
                problems.append(
                    f"call {row['contact_id']}: {row['shard']}/{row['member']} is not what was "
                    "ingested."
                )
        except ShardError as error:
            problems.append(f"call {row['contact_id']}: {error}")
        progress(done, recordings.height)
    return problems


def clear_leftovers(shards: Path, used: set[str], safe: set[str]) -> list[str]:
    """Removes what a killed ingest left and returns the shards it removed.

    These are temporary files, and shards outside `used` whose members are all in `safe`:
    members that lie in a used shard or are about to be packed again. A shard that holds
    anything else is never removed.
    """
    removed = []
    for path in sorted(shards.iterdir()) if shards.is_dir() else []:
        if LEFTOVER.fullmatch(path.name):
            path.unlink()
        elif (
            SHARD.fullmatch(path.name)
            and path.name not in used
            and is_readable(path)
            and set(shard_index(path)) <= safe
        ):
            path.unlink()
            removed.append(path.name)
    return removed


def next_number(shards: Path) -> int:
    """Returns the first number no shard has."""
    numbers = [int(path.stem) for path in shards.glob("*.tar") if SHARD.fullmatch(path.name)]
    return max(numbers, default=-1) + 1


class _Hashing:
    """A file that is hashed while tarfile copies it."""

    def __init__(self, handle: IO[bytes]) -> None:
        self.handle = handle
        self.sha256 = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        piece = self.handle.read(size)
        self.sha256.update(piece)
        return piece


def _write(path: Path, members: Mapping[str, Path | bytes]) -> dict[str, str]:
    hashes = {}
    with atomic(path) as temporary, tarfile.open(temporary, "w", format=tarfile.GNU_FORMAT) as tar:
        for name in sorted(members):
            source = members[name]
            # Its defaults are deterministic: mode 0644, mtime, uid and gid 0, no names.
            info = tarfile.TarInfo(name)
            info.size = len(source) if isinstance(source, bytes) else source.stat().st_size
            with io.BytesIO(source) if isinstance(source, bytes) else source.open("rb") as handle:
                hashing = _Hashing(handle)
                tar.addfile(info, hashing)
                hashes[name] = hashing.sha256.hexdigest()
    return hashes
