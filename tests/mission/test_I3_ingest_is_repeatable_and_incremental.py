"""I3: a second ingest adds nothing, ten new calls add ten."""

from pathlib import Path

from data import sources
from data.files import read_tables
from data.ingest import ingest
from tests.factories import NOW, an_export


def files(folder: Path) -> dict[str, tuple[int, int, bytes]]:
    return {
        path.name: (path.stat().st_ino, path.stat().st_mtime_ns, path.read_bytes())
        for path in folder.iterdir()
    }


def test_I3_a_second_run_adds_0_rows_and_rewrites_no_table_and_no_shard(tmp_path: Path) -> None:
    store, export = tmp_path / "store", an_export(tmp_path / "export", calls=4, chats=2)
    first = ingest(sources.read("auto", export), store, NOW)
    assert first["added"] == {
        "customers": 2,
        "contacts": 6,
        "recordings": 4,
        "turns": 18,
        "outcomes": 2,
        "interventions": 0,
    }
    before = {name: files(store / name) for name in ("tables", "shards", "quarantine")}
    second = ingest(sources.read("auto", export), store, NOW)
    assert set(second["added"].values()) == set(second["changed"].values()) == {0}
    assert second["unchanged"] == first["added"]
    assert {name: files(store / name) for name in before} == before


def test_I3_ten_new_calls_add_ten_and_leave_the_shards_there_were(tmp_path: Path) -> None:
    store = tmp_path / "store"
    ingest(sources.read("auto", an_export(tmp_path / "monday", calls=4)), store, NOW)
    before = files(store / "shards")
    summary = ingest(
        sources.read("auto", an_export(tmp_path / "tuesday", calls=10, chats=0, first=5)),
        store,
        NOW,
    )
    assert summary["added"] == {
        "customers": 0,
        "contacts": 10,
        "recordings": 10,
        "turns": 30,
        "outcomes": 0,
        "interventions": 0,
    }
    assert summary["rows"]["recordings"] == read_tables(store / "tables")["recordings"].height == 14
    after = files(store / "shards")
    assert {name: after[name] for name in before} == before
    assert len(after) == len(before) + 1
