"""Versions of the data: the same data has the same hash, and what the remote holds is checked."""

import os
import shutil
from datetime import datetime
from pathlib import Path

import pytest

from data import sources, versioning
from data.ingest import IngestParams, ingest
from data.records import DatasetVersion
from data.versioning import VersionError
from tests.factories import NOW, a_wav, an_export


class Shop:
    """A store with ingested calls, and its versions."""

    def __init__(self, folder: Path, calls: int = 6) -> None:
        self.store, self.export, self.remote = folder / "store", folder / "in", folder / "remote"
        self.repo = self.store / "versioned"
        an_export(self.export, calls=calls, duration_s=15.0)

    def ingest(self) -> None:
        ingest(sources.read("auto", self.export), self.store, NOW, params=IngestParams(shard_mb=1))

    def version(self, commit: str = "abc", now: datetime = NOW) -> DatasetVersion:
        return versioning.version(
            self.store / "tables",
            self.store / "shards",
            self.repo,
            remote=str(self.remote),
            git_commit=commit,
            now=now,
        )

    def objects(self) -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in self.remote.rglob("*") if path.is_file()}

    def verify(self, dvc_hash: str) -> list[str]:
        return versioning.verify_remote(dvc_hash, self.repo, remote=str(self.remote))


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    shop = Shop(tmp_path)
    shop.ingest()
    return shop


def flip(path: Path) -> None:
    """Turns over one bit in the middle of a file, as a dying disk does: its times stay."""
    stat = path.stat()
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.chmod(0o644)
    path.write_bytes(content)
    path.chmod(stat.st_mode)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def test_a_version_knows_its_hash_commit_time_size_and_rows(shop: Shop) -> None:
    made = shop.version("abc")
    assert made.dvc_hash.endswith(".dir")
    assert (made.git_commit, made.created_at) == ("abc", NOW.isoformat())
    counted = {name: count for name, count in made.rows.items() if count}
    assert counted == {
        "customers": 2,
        "customer_versions": 2,
        "contacts": 7,
        "recordings": 6,
        "turns": 21,
        "outcomes": 2,
    }
    files = [*(shop.store / "tables").iterdir(), *(shop.store / "shards").iterdir()]
    assert made.size_bytes == sum(path.stat().st_size for path in files)


def test_the_same_data_is_the_same_version_and_pushes_nothing(shop: Shop) -> None:
    first = shop.version()
    before = shop.objects()
    again = shop.version(commit="def", now=NOW.replace(year=2027))
    assert (again.dvc_hash, again.created_at, again.git_commit) == (
        first.dvc_hash,
        first.created_at,
        "def",
    )
    assert shop.objects() == before


def test_one_changed_call_moves_one_shard(shop: Shop) -> None:
    shop.version()
    before = set(shop.objects())
    a_wav(shop.export / "recordings" / "call-3.wav", duration_s=15.0, seed=77)
    shop.ingest()
    shop.version()
    new = [path.stat().st_size for path in set(shop.objects()) - before]
    assert len([size for size in new if size > 100_000]) == 1
    assert len(new) == 3  # and recordings.parquet, and the new manifest


def test_a_shard_is_linked_and_a_table_is_not(shop: Shop) -> None:
    shop.version()
    dataset = shop.repo / "dataset"
    assert (dataset / "shards" / "00000.tar").samefile(shop.store / "shards" / "00000.tar")
    assert not (dataset / "tables" / "contacts.parquet").samefile(
        shop.store / "tables" / "contacts.parquet"
    )
    assert os.access(shop.store / "tables" / "contacts.parquet", os.W_OK)


def test_what_is_no_longer_in_the_store_is_not_in_the_next_version(
    shop: Shop, tmp_path: Path
) -> None:
    shop.version()
    (shop.store / "shards" / "00001.tar").unlink()
    (shop.store / "tables" / "outcomes.parquet").unlink()
    out = versioning.checkout(
        shop.version().dvc_hash, shop.repo, remote=str(shop.remote), out=tmp_path / "out"
    )
    assert sorted(path.name for path in (out / "shards").iterdir()) == ["00000.tar", "00002.tar"]
    assert not (out / "tables" / "outcomes.parquet").exists()


def test_every_version_leaves_its_pointer_in_the_history(shop: Shop) -> None:
    first = shop.version()
    a_wav(shop.export / "recordings" / "call-3.wav", duration_s=15.0, seed=77)
    shop.ingest()
    second = shop.version(now=NOW.replace(year=2027))
    assert [version.dvc_hash for version in versioning.history(shop.repo)] == [
        first.dvc_hash,
        second.dvc_hash,
    ]
    for version in (first, second):
        assert version.dvc_hash in (shop.repo / "history" / f"{version.dvc_hash}.dvc").read_text()


def test_a_whole_remote_has_no_problems(shop: Shop) -> None:
    assert shop.verify(shop.version().dvc_hash) == []


def test_an_object_missing_in_the_remote_is_found_and_brought_again(shop: Shop) -> None:
    made = shop.version()
    gone = max(shop.objects(), key=lambda path: path.stat().st_size)
    content = gone.read_bytes()
    gone.unlink()
    assert [problem.split(": ")[1] for problem in shop.verify(made.dvc_hash)] == [
        "missing in the remote"
    ]
    assert shop.version() == made
    assert gone.read_bytes() == content
    assert shop.verify(made.dvc_hash) == []


def test_an_object_cut_short_in_the_remote_is_found_and_brought_again(shop: Shop) -> None:
    made = shop.version()
    cut = max(shop.objects(), key=lambda path: path.stat().st_size)
    content = cut.read_bytes()
    cut.chmod(0o644)
    cut.write_bytes(content[:1000])
    assert shop.version() == made
    assert cut.read_bytes() == content


def test_damage_that_cannot_be_repaired_is_an_error(shop: Shop) -> None:
    shop.version()
    cached = [path for path in (shop.repo / ".dvc" / "cache").rglob("*") if path.is_file()]
    flip(max(cached, key=lambda path: path.stat().st_size))  # the cache itself is damaged ...
    shutil.rmtree(shop.remote)  # ... and the remote is gone
    with pytest.raises(
        VersionError, match=r"1 of \d+ objects are not whole in .* after a repair .*damaged in the"
    ):
        shop.version()


def test_a_flipped_byte_in_the_remote_is_never_delivered(shop: Shop, tmp_path: Path) -> None:
    made = shop.version()
    flip(max(shop.objects(), key=lambda path: path.stat().st_size))
    with pytest.raises(VersionError, match=made.dvc_hash):
        versioning.checkout(made.dvc_hash, shop.repo, remote=str(shop.remote), out=tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.glob(".out*"))


def test_a_flipped_byte_in_the_remote_is_repaired_from_the_cache(
    shop: Shop, tmp_path: Path
) -> None:
    made = shop.version()
    flip(max(shop.objects(), key=lambda path: path.stat().st_size))
    (wrong,) = versioning.repair_remote(made.dvc_hash, shop.repo, remote=str(shop.remote))
    assert wrong.endswith("damaged in the remote")
    assert shop.verify(made.dvc_hash) == []
    assert versioning.repair_remote(made.dvc_hash, shop.repo, remote=str(shop.remote)) == []


def test_an_older_version_is_repaired_too_and_only_where_it_was_made(
    shop: Shop, tmp_path: Path
) -> None:
    made = shop.version()
    a_wav(shop.export / "recordings" / "call-3.wav", duration_s=15.0, seed=77)
    old = set(shop.objects())
    shop.ingest()
    shop.version()
    for path in old:
        path.unlink()
    with pytest.raises(VersionError, match="Repair it where it was made"):
        versioning.repair_remote(made.dvc_hash, tmp_path / "elsewhere", remote=str(shop.remote))
    assert len(versioning.repair_remote(made.dvc_hash, shop.repo, remote=str(shop.remote))) == len(
        old
    )
    assert shop.verify(made.dvc_hash) == []


def test_a_damaged_manifest_is_found(shop: Shop, tmp_path: Path) -> None:
    made = shop.version()
    flip(next(path for path in shop.objects() if path.suffix == ".dir"))
    with pytest.raises(VersionError, match="manifest is damaged"):
        shop.verify(made.dvc_hash)


def test_an_unknown_hash_lists_the_versions_there_are(shop: Shop, tmp_path: Path) -> None:
    made = shop.version()
    with pytest.raises(VersionError, match=f"not in .*Versions made here: {made.dvc_hash}"):
        versioning.checkout("0" * 32, shop.repo, remote=str(shop.remote), out=tmp_path / "out")
    with pytest.raises(VersionError, match="is not a dataset hash"):
        versioning.checkout("../../x", shop.repo, remote=str(shop.remote), out=tmp_path / "out")


def test_a_checkout_never_overwrites(shop: Shop, tmp_path: Path) -> None:
    made = shop.version()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    with pytest.raises(VersionError, match="something here already"):
        versioning.checkout(made.dvc_hash, shop.repo, remote=str(shop.remote), out=tmp_path / "out")
    assert (tmp_path / "out" / "mine.txt").read_text() == "mine"


def test_no_data_is_no_version(tmp_path: Path) -> None:
    with pytest.raises(VersionError, match="no tables to version"):
        versioning.version(
            tmp_path / "tables",
            tmp_path / "shards",
            tmp_path / "repo",
            remote=str(tmp_path / "r"),
            git_commit="abc",
            now=NOW,
        )


def test_dvc_keeps_its_pickles_out_of_shared_folders_and_checks_what_it_pulls(shop: Shop) -> None:
    shop.version()
    config = (shop.repo / ".dvc" / "config").read_text()
    assert "site_cache_dir = .dvc/site" in config
    assert (shop.repo / ".dvc" / "site" / "repo").is_dir()
    assert "verify = True" in config
    assert "analytics = False" in config
