"""kill -9 in the middle of a push: the next version makes the remote whole, nothing is lost or
doubled.
"""

import hashlib
import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from data import versioning
from data.records import CUSTOMERS

NOW = datetime(2026, 8, 10, tzinfo=UTC)
FILES = 600
PUSH = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from data import versioning
store, remote = Path(sys.argv[1]), sys.argv[2]
now = datetime(2026, 8, 10, tzinfo=UTC)
versioning.version(
    store / "tables", store / "shards", store / "versioned", remote=remote, git_commit="abc", now=now
)
"""


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store of several hundred small shards, so that a push takes a moment."""
    store = tmp_path / "store"
    (store / "tables").mkdir(parents=True)
    (store / "shards").mkdir()
    pl.DataFrame(schema=CUSTOMERS).write_parquet(store / "tables" / "customers.parquet")
    for number in range(FILES):
        (store / "shards" / f"{number:05d}.tar").write_bytes(
            hashlib.sha256(str(number).encode()).digest() * 600
        )
    return store


def objects(remote: Path) -> list[Path]:
    """Whole objects in the remote, by the names DVC gives them."""
    folder = remote / "files" / "md5"
    return [
        path
        for path in folder.glob("[0-9a-f][0-9a-f]/*")
        if len(path.name.removesuffix(".dir")) == 30
    ]


def killed_in_the_middle(store: Path, remote: Path) -> int:
    """Starts a push and kills it once some objects have arrived. Returns how many had."""
    process = subprocess.Popen(
        [sys.executable, "-c", PUSH, str(store), str(remote)], start_new_session=True
    )
    try:
        deadline = time.monotonic() + 120
        while len(objects(remote)) < 20 and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.001)
    finally:
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
        process.wait()
    return len(objects(remote))


def test_a_killed_push_is_finished_by_the_next_one(store: Path, tmp_path: Path) -> None:
    remote = tmp_path / "remote"
    arrived = killed_in_the_middle(store, remote)
    assert 20 <= arrived < FILES + 2, "the push was not killed in its middle"
    for _ in range(2):  # and a version after that one finds nothing to do
        made = versioning.version(
            store / "tables",
            store / "shards",
            store / "versioned",
            remote=str(remote),
            git_commit="abc",
            now=NOW,
        )
        assert (
            versioning.verify_remote(made.dvc_hash, store / "versioned", remote=str(remote)) == []
        )
        assert len(objects(remote)) == FILES + 2  # each shard once, the table and the manifest
    assert len(versioning.history(store / "versioned")) == 1
    out = versioning.checkout(
        made.dvc_hash, store / "versioned", remote=str(remote), out=tmp_path / "out"
    )
    for path in (store / "shards").iterdir():
        assert (out / "shards" / path.name).read_bytes() == path.read_bytes()


def test_a_manifest_that_arrived_before_its_objects_is_not_believed(
    store: Path, tmp_path: Path
) -> None:
    """The state DVC itself reports as up to date: the manifest is there, most objects are not."""
    remote = tmp_path / "remote"
    made = versioning.version(
        store / "tables",
        store / "shards",
        store / "versioned",
        remote=str(remote),
        git_commit="abc",
        now=NOW,
    )
    lost = [path for path in objects(remote) if path.suffix != ".dir"][:500]
    for path in lost:
        path.unlink()
    assert (
        len(versioning.verify_remote(made.dvc_hash, store / "versioned", remote=str(remote))) == 500
    )
    again = versioning.version(
        store / "tables",
        store / "shards",
        store / "versioned",
        remote=str(remote),
        git_commit="abc",
        now=NOW,
    )
    assert again == made
    assert versioning.verify_remote(made.dvc_hash, store / "versioned", remote=str(remote)) == []
    assert len(objects(remote)) == FILES + 2


def test_a_flipped_byte_in_the_remote_is_found(store: Path, tmp_path: Path) -> None:
    remote = tmp_path / "remote"
    made = versioning.version(
        store / "tables",
        store / "shards",
        store / "versioned",
        remote=str(remote),
        git_commit="abc",
        now=NOW,
    )
    victim = next(
        path for path in objects(remote) if path.suffix != ".dir" and path.stat().st_size == 19200
    )
    content = bytearray(victim.read_bytes())
    content[7] ^= 1
    victim.chmod(0o644)
    victim.write_bytes(content)
    (problem,) = versioning.verify_remote(made.dvc_hash, store / "versioned", remote=str(remote))
    assert problem.startswith("shards/")
    assert problem.endswith("damaged in the remote")
