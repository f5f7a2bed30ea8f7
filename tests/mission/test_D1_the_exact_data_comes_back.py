"""D1: from a version's hash alone the dataset comes back, byte for byte."""

import shutil
from pathlib import Path

from data import sources, versioning
from data.files import read_tables
from data.ingest import ingest
from data.speech import shards
from tests.factories import NOW, a_wav, an_export, edit


def contents(*folders: Path) -> dict[str, bytes]:
    return {
        f"{path.parent.name}/{path.name}": path.read_bytes()
        for folder in folders
        for path in folder.rglob("*.*")
    }


def test_D1_every_version_comes_back_byte_for_byte_from_its_hash_with_all_caches_gone(
    tmp_path: Path,
) -> None:
    store, export, remote = tmp_path / "store", an_export(tmp_path / "in"), str(tmp_path / "remote")
    made, was = [], []
    for change in range(3):
        if change == 1:
            a_wav(export / "recordings" / "call-2.wav", seed=60)
        if change == 2:
            edit(export / "customers.csv", "basic", "premium")
        ingest(sources.read("auto", export), store, NOW)
        made.append(
            versioning.version(
                store / "tables",
                store / "shards",
                store / "versioned",
                remote=remote,
                git_commit="abc",
                now=NOW,
            )
        )
        was.append(contents(store / "tables", store / "shards"))
    assert len({version.dvc_hash for version in made}) == 3

    shutil.rmtree(store)  # the working copy, the DVC repository, its cache: all gone
    for number, version in enumerate(made):
        out = versioning.checkout(
            version.dvc_hash, tmp_path / "nowhere", remote=remote, out=tmp_path / f"out-{number}"
        )
        assert contents(out) == was[number]
        assert shards.verify(out / "shards", read_tables(out / "tables")["recordings"]) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "in",
        "out-0",
        "out-1",
        "out-2",
        "remote",
    ]
