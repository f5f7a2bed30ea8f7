"""Versions datasets with DVC: each gets a hash, is checked in the remote, and can be checked out.

Only this module imports DVC. The datasets live in a DVC repository of their own, without git: its
`dataset/` holds `tables/*.parquet` and `shards/*.tar`, its `history/` one pointer for each version
that was seen complete in the remote.

DVC takes a directory object in the remote as proof that everything in it is in the remote too.
After a push that was killed this need not be so: every push ends with a check of each object of the
version, and a repair where one is missing.
"""

from __future__ import annotations

import filecmp
import hashlib
import json
import logging
import os
import re
import shutil
import uuid
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl

from data.files import atomic, read_json, write_json, write_text
from data.progress import Progress
from data.records import DatasetVersion

REMOTE = "store"
HASH = re.compile(r"[0-9a-f]{32}(\.dir)?")
REPAIR = "Repair the remote from the store where this version was made: `keepline data repair`."
QUERIES = 16  # questions to the remote at a time


class VersionError(RuntimeError):
    """A dataset could not be versioned, checked or brought back.

    The message says which and what to do.
    """


@dataclass(frozen=True)
class _Object:
    """One object of a version: its id in the remote, its path in the dataset, its size if known."""

    oid: str
    path: str
    size: int | None = None


def version(
    tables: Path,
    shards: Path,
    repo: Path,
    *,
    remote: str,
    git_commit: str,
    now: datetime,
    remote_options: Mapping[str, str] | None = None,
    progress: Progress = lambda done, total: None,
) -> DatasetVersion:
    """Versions `tables`/*.parquet and `shards`/*.tar: adds, pushes and checks them in the remote.

    `remote` is a folder or any URL DVC knows, with `remote_options` as DVC names them
    (endpointurl, profile, …). The same data has the same hash, and keeps the time at which it
    was first versioned. Shards are linked, not copied: whoever changes one must replace it, as
    `data.speech.shards` does. `progress` counts objects checked. Raises VersionError when there
    is no data, DVC fails, or the remote stays incomplete after a repair.
    """
    files = {f"tables/{path.name}": path for path in sorted(tables.glob("*.parquet"))}
    files |= {f"shards/{path.name}": path for path in sorted(shards.glob("*.tar"))}
    if not files:
        raise VersionError(f"{tables}: no tables to version. Run ingest and validate first.")
    rows = {path.stem: _rows(path) for name, path in files.items() if name.startswith("tables/")}
    _link_files(repo / "dataset", files)
    with _open_repo(repo, remote, remote_options) as dvc:
        with dvc_errors("dvc add", repo):
            output = dvc.add([str(repo / "dataset")])[0].outs[0]
        dvc_hash, size = output.hash_info.value, output.meta.size
        objects = _objects(dvc_hash, Path(dvc.cache.local.oid_to_path(dvc_hash)).read_bytes())
        objects = [
            replace(item, size=os.stat(dvc.cache.local.oid_to_path(item.oid)).st_size)
            for item in objects
        ]
        new = set(_check_objects(dvc.cloud.get_remote_odb(REMOTE), objects, set()))
        _push(dvc, repo)
        problems = _check_objects(dvc.cloud.get_remote_odb(REMOTE), objects, new, progress=progress)
    if problems:
        _repair(
            dvc_hash,
            repo,
            remote=remote,
            remote_options=remote_options,
            objects=objects,
            read_oids=new,
            progress=progress,
        )
    record = repo / "history" / f"{dvc_hash}.json"
    if not record.exists():
        write_text(
            repo / "history" / f"{dvc_hash}.dvc", (repo / "dataset.dvc").read_text(encoding="utf-8")
        )
        write_json(
            record, asdict(DatasetVersion(dvc_hash, git_commit, now.isoformat(), size, rows))
        )
    return replace(DatasetVersion(**read_json(record)), git_commit=git_commit)


def checkout(
    dvc_hash: str,
    repo: Path,
    *,
    remote: str,
    out: Path,
    remote_options: Mapping[str, str] | None = None,
) -> Path:
    """Brings a version back from the remote into the folder `out`, byte for byte; returns `out`.

    Only the remote is read: `repo` may be empty or gone, its history serves the error when the
    hash is unknown. Every file is checked against the version's manifest before `out` appears.
    Raises VersionError when `out` holds something already, when the remote has no such version,
    or when what it has is damaged (see `repair_remote`).
    """
    dvc_hash = _full_hash(dvc_hash)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise VersionError(f"{out}: there is something here already. Name a new or empty folder.")
    out.parent.mkdir(parents=True, exist_ok=True)
    scratch = out.parent / f".{out.name}.{uuid.uuid4().hex[:8]}.checkout"
    try:
        with _open_repo(scratch, remote, remote_options) as dvc:
            _manifest(dvc, dvc_hash, repo=repo, remote=remote)
            pointer = f"outs:\n- md5: {dvc_hash}\n  hash: md5\n  path: dataset\n"
            write_text(scratch / "dataset.dvc", pointer)
            with dvc_errors(f"version {dvc_hash}: dvc pull", repo):
                dvc.pull(targets=[str(scratch / "dataset.dvc")], remote=REMOTE)
            manifest = Path(dvc.cache.local.oid_to_path(dvc_hash)).read_bytes()
        for item in _objects(dvc_hash, manifest)[1:]:
            path = scratch / "dataset" / item.path
            with path.open("rb") as handle:
                if hashlib.file_digest(handle, "md5").hexdigest() != item.oid:
                    raise VersionError(f"version {dvc_hash}: {item.path} arrived damaged. {REPAIR}")
            path.chmod(0o644)  # DVC write-protects what it links to its cache
        if out.exists():
            out.rmdir()
        (scratch / "dataset").rename(out)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return out


def verify_remote(
    dvc_hash: str,
    repo: Path,
    *,
    remote: str,
    remote_options: Mapping[str, str] | None = None,
    progress: Progress = lambda done, total: None,
) -> list[str]:
    """Reads every object of a version in the remote and returns what is missing or damaged.

    An empty list means that nothing is. Costs a read of the whole version. Raises VersionError
    when the remote has no such version.
    """
    dvc_hash = _full_hash(dvc_hash)
    with _open_repo(repo, remote, remote_options) as dvc:
        manifest = _manifest(dvc, dvc_hash, repo=repo, remote=remote)
        objects = _objects(dvc_hash, manifest)
        oids = {item.oid for item in objects}
        return list(
            _check_objects(
                dvc.cloud.get_remote_odb(REMOTE), objects, oids, progress=progress
            ).values()
        )


def remote_lacks(
    dvc_hash: str,
    repo: Path,
    *,
    remote: str,
    remote_options: Mapping[str, str] | None = None,
) -> str:
    """Returns what the remote no longer has of the versions made in `repo`; empty if nothing.

    Every object of `dvc_hash` is looked up, and the manifest of each older version. Contents are
    not read: `verify_remote` does that. Costs one listing of the remote, or a look an object where
    that is cheaper.
    """
    with _open_repo(repo, remote, remote_options) as dvc:
        cached = Path(dvc.cache.local.oid_to_path(dvc_hash))
        if not cached.exists():
            return f"version {dvc_hash} is not in the cache of {repo}, so it is made again"
        wanted = {item.oid for item in _objects(dvc_hash, cached.read_bytes())}
        older = {record.dvc_hash for record in history(repo)} - {dvc_hash}
        with dvc_errors("a look at the remote", repo):
            present = set(dvc.cloud.get_remote_odb(REMOTE).oids_exist(wanted | older))
    missing, lost = len(wanted - present), sorted(older - present)
    says = []
    if missing:
        says.append(
            f"{remote}: {missing} of {len(wanted)} objects of version {dvc_hash} are missing. "
            "They are pushed again; `keepline data repair` does so by hand"
        )
    if lost:
        says.append(
            f"{remote}: {len(lost)} older versions are missing, the newest {lost[-1]}. "
            "`keepline data repair HASH` brings back one, from the store where it was made"
        )
    return ". ".join(says)


def repair_remote(
    dvc_hash: str,
    repo: Path,
    *,
    remote: str,
    remote_options: Mapping[str, str] | None = None,
    progress: Progress = lambda done, total: None,
) -> list[str]:
    """Uploads missing or damaged objects of a version from the cache of the `repo` that made it.

    Returns what was wrong. Raises VersionError when that cache has no such version, or it stays
    damaged.
    """
    dvc_hash = _full_hash(dvc_hash)
    with _open_repo(repo, remote, remote_options) as dvc:
        cached = Path(dvc.cache.local.oid_to_path(dvc_hash))
        if not cached.exists():
            raise VersionError(
                f"version {dvc_hash}: not in the cache of {repo}. Repair it where it was made."
            )
        objects = _objects(dvc_hash, cached.read_bytes())
        oids = {item.oid for item in objects}
        problems = _check_objects(
            dvc.cloud.get_remote_odb(REMOTE), objects, oids, progress=progress
        )
    if problems:
        _repair(
            dvc_hash,
            repo,
            remote=remote,
            remote_options=remote_options,
            objects=objects,
            read_oids=oids,
            progress=progress,
        )
    return list(problems.values())


def history(repo: Path) -> list[DatasetVersion]:
    """Returns the versions made in `repo`, oldest first."""
    records = [DatasetVersion(**read_json(path)) for path in (repo / "history").glob("*.json")]
    return sorted(records, key=lambda record: (record.created_at, record.dvc_hash))


def _link_files(dataset: Path, files: Mapping[str, Path]) -> None:
    """Makes `dataset` hold exactly `files`: shards linked, tables copied.

    Files are replaced, never written into.
    """
    for path in sorted(dataset.rglob("*")) if dataset.exists() else []:
        if path.is_file() and path.relative_to(dataset).as_posix() not in files:
            path.unlink()
    for name, source in files.items():
        target = dataset / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists() and (
            target.samefile(source) or filecmp.cmp(source, target, shallow=False)
        ):
            continue
        with atomic(target) as temporary:
            if source.suffix == ".tar":
                try:
                    os.link(source, temporary)
                except OSError:  # another file system, or one without links
                    shutil.copyfile(source, temporary)
            else:
                shutil.copyfile(source, temporary)


def _rows(path: Path) -> int:
    return int(pl.scan_parquet(path).select(pl.len()).collect().item())


def _full_hash(dvc_hash: str) -> str:
    if not HASH.fullmatch(dvc_hash):
        raise VersionError(f"{dvc_hash!r} is not a dataset hash: 32 hexadecimal digits and .dir.")
    return dvc_hash if dvc_hash.endswith(".dir") else f"{dvc_hash}.dir"


def _site_cache(repo: Path) -> Path:
    return repo.resolve() / ".dvc" / "site"


@contextmanager
def _open_repo(repo: Path, remote: str, remote_options: Mapping[str, str] | None) -> Iterator[Any]:
    """Yields the DVC repository at `repo`, made and configured where needed.

    DVC's own log and progress bars stay silent.
    """
    from dvc.config import Config
    from dvc.config_schema import RelPath
    from dvc.repo import Repo

    logger = logging.getLogger("dvc")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        (repo / ".dvc" / "tmp").mkdir(parents=True, exist_ok=True)
        write_text(
            repo / ".dvcignore", "/history\n"
        )  # pointers of the past are not outputs of the present
        url = remote if "://" in remote else str(Path(remote).resolve())
        remotes = {REMOTE: {**(remote_options or {}), "url": url, "verify": True}}
        with Config(dvc_dir=str(repo.resolve() / ".dvc")).edit("repo") as config:
            config["core"] = {
                "no_scm": True,
                "analytics": False,
                "check_update": False,
                "autostage": False,
                "remote": REMOTE,
                # the default is a folder anyone may write to, and DVC unpickles what lies in it
                "site_cache_dir": ".dvc/site",
            }
            config["cache"] = {"type": "hardlink,copy"}
            # For `dvc` by hand. A remote beside the repository moves with it. DVC writes ASCII only.
            beside = Path(url).is_relative_to(repo.resolve().parent)
            config["remote"] = {}
            if beside or url.isascii():
                said = RelPath(url) if beside else url
                config["remote"] = {REMOTE: {**remotes[REMOTE], "url": said}}
        here = {"core": {"site_cache_dir": str(_site_cache(repo))}, "remote": remotes}
        with dvc_errors("dvc", repo), Repo(str(repo.resolve()), config=here) as dvc:
            yield dvc
    finally:
        logger.setLevel(level)


@contextmanager
def dvc_errors(doing: str, repo: Path) -> Iterator[None]:
    """Turns DVC's errors into VersionError."""
    from dvc.exceptions import DvcException
    from dvc.lock import LockError

    try:
        yield
    except LockError as error:
        raise VersionError(
            f"{repo}: another process is versioning here. Wait until it has ended."
        ) from error
    except DvcException as error:
        raise VersionError(
            f"{doing} failed in {repo}: {error}. Check the remote's place and rights."
        ) from error


def _push(dvc: Any, repo: Path) -> None:
    from dvc.exceptions import UploadError

    # Where some objects did not arrive, the look at the remote that follows says which.
    with dvc_errors("dvc push", repo), suppress(UploadError):
        dvc.push(targets=[str(repo.resolve() / "dataset.dvc")], remote=REMOTE)


def _repair(
    dvc_hash: str,
    repo: Path,
    *,
    remote: str,
    remote_options: Mapping[str, str] | None,
    objects: list[_Object],
    read_oids: set[str],
    progress: Progress,
) -> None:
    """Deletes the manifest and damaged objects from the remote and pushes the version again.

    DVC's index of the remote is deleted too, so that nothing is skipped.
    """
    from dvc_data.hashfile.hash_info import HashInfo

    with _open_repo(repo, remote, remote_options) as dvc:
        odb = dvc.cloud.get_remote_odb(REMOTE)
        for oid in {dvc_hash, *_check_objects(odb, objects, read_oids)}:
            if odb.fs.exists(odb.oid_to_path(oid)):
                odb.fs.remove(odb.oid_to_path(oid))
    shutil.rmtree(_site_cache(repo), ignore_errors=True)
    with _open_repo(repo, remote, remote_options) as dvc:
        with dvc_errors("dvc push", repo), dvc.lock:
            manifest, *files = [HashInfo("md5", item.oid) for item in objects]
            dvc.cloud.push(files, remote=REMOTE)
            dvc.cloud.push([manifest], remote=REMOTE)  # last: it vouches for the others
        problems = _check_objects(
            dvc.cloud.get_remote_odb(REMOTE),
            objects,
            {item.oid for item in objects},
            progress=progress,
        )
    if problems:
        raise VersionError(
            f"version {dvc_hash}: {len(problems)} of {len(objects)} objects are not whole in "
            f"{remote} after a repair ({'; '.join(list(problems.values())[:3])}). Check the "
            f"remote's disk and rights, and {repo}/.dvc/cache."
        )


def _objects(dvc_hash: str, manifest: bytes) -> list[_Object]:
    """The directory object, then, once each, the objects of its files, from DVC's JSON manifest."""
    objects = {dvc_hash: _Object(dvc_hash, "manifest", len(manifest))}
    for entry in json.loads(manifest):
        objects.setdefault(entry["md5"], _Object(entry["md5"], entry["relpath"]))
    return list(objects.values())


def _manifest(dvc: Any, dvc_hash: str, *, repo: Path, remote: str) -> bytes:
    """Reads the manifest from the remote and checks it against its own hash."""
    odb = dvc.cloud.get_remote_odb(REMOTE)
    try:
        with odb.fs.open(odb.oid_to_path(dvc_hash), "rb") as handle:
            manifest: bytes = handle.read()
    except FileNotFoundError as error:
        versions = (
            ", ".join(
                f"{record.dvc_hash} ({record.created_at[:16]})" for record in history(repo)[-5:]
            )
            or "none"
        )
        raise VersionError(
            f"version {dvc_hash}: not in {remote}. Versions made here: {versions}."
        ) from error
    if f"{hashlib.md5(manifest).hexdigest()}.dir" != dvc_hash:
        raise VersionError(f"version {dvc_hash}: its manifest is damaged in {remote}. {REPAIR}")
    return manifest


def _check_objects(
    odb: Any,
    objects: list[_Object],
    read_oids: set[str],
    *,
    progress: Progress = lambda done, total: None,
) -> dict[str, str]:
    """Returns what is wrong with which object in the remote, by object id.

    All are looked up; those in `read_oids` are read and hashed too.
    """

    def check(item: _Object) -> str | None:
        path = odb.oid_to_path(item.oid)
        try:
            size = odb.fs.info(path)["size"]
            if item.size is not None and size != item.size:
                return f"{item.path}: {size} of {item.size} bytes in the remote"
            if item.oid in read_oids:
                with odb.fs.open(path, "rb") as handle:
                    digest = hashlib.md5()
                    while piece := handle.read(1 << 20):
                        digest.update(piece)
                if digest.hexdigest() != item.oid.removesuffix(".dir"):
                    return f"{item.path}: damaged in the remote"
        except FileNotFoundError:
            return f"{item.path}: missing in the remote"
        return None

    problems = {}
    with ThreadPoolExecutor(QUERIES) as pool:
        for done, (item, problem) in enumerate(
            zip(objects, pool.map(check, objects), strict=True), start=1
        ):
            if problem:
                problems[item.oid] = problem
            progress(done, len(objects))
    return problems


def keep_own_site_cache(root: Path, folder: Path) -> None:
    """Sets DVC's site cache of the project at `root` to `folder`, in its local configuration.

    DVC unpickles what lies there, and its default is a folder that everyone may write to. The path
    has to be absolute: DVC takes a relative one from wherever it runs, and an experiment's worker
    then finds no database. An own choice in the local configuration stays.
    """
    from dvc.config import Config

    with Config(dvc_dir=str(root / ".dvc")).edit("local") as config:
        config.setdefault("core", {}).setdefault("site_cache_dir", str(folder.resolve()))


def commit_pipeline(root: Path, file: str = "dvc.yaml") -> None:
    """Records the present dependencies and outputs of all stages of `root`/`file` in its dvc.lock.

    Nothing is written where DVC finds them unchanged.

    Raises VersionError when DVC cannot, as when another process holds its lock.
    """
    from dvc.repo import Repo

    logger = logging.getLogger("dvc")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with dvc_errors("dvc commit", root), Repo(str(root)) as dvc:
            target = str(root / file)
            if dvc.status(targets=[target]):
                dvc.commit(target, force=True)
    finally:
        logger.setLevel(level)
