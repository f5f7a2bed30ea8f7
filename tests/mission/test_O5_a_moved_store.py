"""O5: a store that was copied, moved or restored works where it is and leaves the old place alone."""

from __future__ import annotations

import hashlib
import json
import shutil
import sqlite3
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from data import versioning
from data.files import read_tables
from flows.runtime.context import RunContext, load_context
from flows.runtime.heartbeats import heartbeat
from flows.runtime.lease import LeaseHeldError, lease, set_patience
from flows.runtime.relocation import settle
from flows.runtime.store_record import claim, read_record
from models.registry.registry import Registry
from tests.factories import NOW, an_export
from tests.flows.conftest import ROOT
from tests.registry_helpers import _empty_store, a_bundle, a_decision
from training.artifact_places import move_places
from training.tracking import fetch_artifact, start_or_resume


@dataclass(frozen=True)
class Made:
    """A store with an MLflow run, two versions of a model and a dataset, and what it should give."""

    store: Path
    run_id: str
    dvc_hash: str
    champion: str  # checksum of its bundle


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A store as stages leave it, without the hours of training. Tests copy it."""
    from data import sources
    from data.ingest import ingest

    store = tmp_path_factory.mktemp("old place ü") / "data" / "store"
    store.mkdir(parents=True)
    (store / "mlflow.db").write_bytes(_empty_store())
    settings = load_context(store).settings
    claim(store, "acme", site_known=False, export=None, takes_in=False)
    ingest(sources.read("auto", an_export(store.parent / "in")), store, NOW)
    version = versioning.version(
        store / "tables",
        store / "shards",
        store / "versioned",
        remote=settings.dvc_remote,
        git_commit="abc",
        now=NOW,
    )
    run = start_or_resume(
        settings.tracking_uri, "keepline-churn", "one", artifact_root=settings.artifact_root
    )
    (store / "scorecard.json").write_text('{"brier": 0.1}')
    run.log_artifact(store / "scorecard.json", "scorecards")
    run.end("FINISHED")
    registry = Registry(settings.tracking_uri, store / "registry")
    one = a_bundle(store / "churn" / "bundle", "one")
    number = registry.register(one.path, "churn", run.run_id)
    registry.promote(
        "churn",
        number,
        expected=None,
        decision=a_decision(one.sha256),
        actor="tester",
        now=datetime(2026, 3, 1, tzinfo=UTC),
    )
    return Made(store, run.run_id, version.dvc_hash, one.sha256)


def copied(made: Made, to: Path) -> Path:
    shutil.copytree(made.store, to, symlinks=True)
    return to


def contents(folder: Path) -> dict[str, str]:
    """The digest of every file below a folder."""
    return {
        str(path.relative_to(folder)): hashlib.md5(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def named_in_database(database: Path, text: str) -> list[str]:
    """Every table and column of a database in which a value begins with a place."""
    found = []
    with sqlite3.connect(database) as connection:
        tables = [row[0] for row in connection.execute("SELECT name FROM sqlite_master")]
        for table in tables:
            for column in [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]:
                (count,) = connection.execute(
                    f"SELECT count(*) FROM {table} WHERE instr(CAST({column} AS TEXT), ?)", (text,)
                ).fetchone()
                found += [f"{table}.{column}"] * bool(count)
    return found


def use(context: RunContext, made: Made, tmp_path: Path) -> None:
    """Fetches, registers, logs, compares and checks out, as commands do."""
    store, registry = context.store, context.registry()
    assert registry.alias("churn", "champion") == 1
    assert registry.fetch("churn", "champion", tmp_path / "fetched").sha256 == made.champion
    uri = context.settings.tracking_uri
    card = fetch_artifact(uri, made.run_id, "scorecards", to_dir=tmp_path / "cards")
    assert card is not None
    assert json.loads((card / "scorecard.json").read_text()) == {"brier": 0.1}

    with start_or_resume(
        uri, "keepline-churn", "two", artifact_root=context.settings.artifact_root
    ) as run:
        run.log_artifact(store / "scorecard.json", "scorecards")
        two = a_bundle(store / "churn" / "second", "two")
        assert registry.register(two.path, "churn", run.run_id) == 2
    artifacts = store / "mlartifacts" / "keepline-churn" / run.run_id / "artifacts"
    assert (artifacts / "scorecards" / "scorecard.json").is_file()
    assert len(list((artifacts / "bundle").glob("*/*"))) >= 4

    out = versioning.checkout(
        made.dvc_hash, store / "versioned", remote=context.settings.dvc_remote, out=tmp_path / "out"
    )
    assert read_tables(out / "tables")["customers"].height > 0
    versioning.version(  # what the next run does
        store / "tables",
        store / "shards",
        store / "versioned",
        remote=context.settings.dvc_remote,
        git_commit="def",
        now=NOW,
    )


def test_O5_a_copy_works_and_writes_nothing_into_the_old_place(
    original: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = copied(original, tmp_path / "first home" / "store")
    settle(load_context(old).settings)
    new = shutil.copytree(old, tmp_path / "restored" / "acme", symlinks=True)
    before = contents(old)
    capsys.readouterr()
    context = load_context(new)
    said = capsys.readouterr().err
    assert f"store {new}: it was at {old}" in said
    assert context.site == "acme"
    use(context, original, tmp_path)
    assert contents(old) == before
    for text in (str(old), old.as_uri()):
        assert named_in_database(new / "mlflow.db", text) == []
    left = [
        path.relative_to(new).as_posix()
        for path in new.rglob("*")
        if path.is_file() and str(old).encode() in path.read_bytes()
    ]
    assert [path for path in left if not path.startswith("versioned/.dvc/site/")] == ["site.json"]
    capsys.readouterr()
    load_context(new)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("known", [True, False], ids=["with_its_record", "of_before_site_json"])
def test_O5_a_moved_store_works_with_the_old_place_gone(
    original: Made, tmp_path: Path, known: bool
) -> None:
    new = copied(original, tmp_path / "moved")
    old = original.store
    if not known:
        (new / "site.json").unlink()
    # The module's store stays for other tests; that it is gone is seen by what is asked of it.
    hidden = old.rename(old.with_name("hidden"))
    try:
        context = load_context(new)
        use(context, original, tmp_path)
        record = read_record(new)
        assert record is not None
        assert record.made_at == str(new)
        assert [(move["from"], move["to"]) for move in record.moves] == [(str(old), str(new))]
        assert not old.exists()
    finally:
        hidden.rename(old)


def test_O5_a_kill_in_the_middle_is_made_up_for(original: Made, tmp_path: Path) -> None:
    new = copied(original, tmp_path / "moved")
    assert move_places(new / "mlflow.db", original.store, new) >= 4  # and killed before the record
    context = load_context(new)
    assert context.registry().fetch("churn", "champion", tmp_path / "f").sha256 == original.champion
    assert read_record(new) is not None
    assert move_places(new / "mlflow.db", original.store, new) == 0


def test_O5_artifacts_that_lie_outside_the_store_stay_there(original: Made, tmp_path: Path) -> None:
    new = copied(original, tmp_path / "moved")
    beside = f"{original.store}-archive/mlartifacts/x"  # begins like the store
    places = {"s3://bucket/x", beside, f"file://{beside}"}
    with sqlite3.connect(new / "mlflow.db") as connection:
        for number, place in enumerate(places):
            connection.execute(
                "INSERT INTO experiments (name, artifact_location, lifecycle_stage) VALUES (?, ?, ?)",
                (f"e{number}", place, "active"),
            )
    load_context(new)
    with sqlite3.connect(new / "mlflow.db") as connection:
        kept = {row[0] for row in connection.execute("SELECT artifact_location FROM experiments")}
    assert places <= kept
    assert (new / "mlartifacts" / "keepline-churn").as_uri() in kept


def test_O5_a_copy_of_a_running_store_ends_no_run_of_the_old_place(
    original: Made, tmp_path: Path
) -> None:
    old = copied(original, tmp_path / "old")
    settings = load_context(old).settings
    with (
        heartbeat(old, "flow", "f" * 32, "retrain", "http://127.0.0.1:4200/api"),
        heartbeat(old, "run", original.run_id, "train", settings.tracking_uri),
    ):
        new = shutil.copytree(old, tmp_path / "new", symlinks=True)
    load_context(new)
    (left,) = (new / ".running").glob("*.json")
    assert json.loads(left.read_text())["place"] == f"sqlite:///{new}/mlflow.db"


def test_O5_nobody_moves_the_places_of_a_store_at_work(original: Made, tmp_path: Path) -> None:
    new = copied(original, tmp_path / "moved")
    hold = (
        "import sys; from pathlib import Path; from flows.runtime.lease import lease\n"
        "with lease(Path(sys.argv[1]), holder='retrain acme'):\n"
        "    print('held', flush=True); sys.stdin.readline()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", hold, str(new)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        set_patience(0)
        with pytest.raises(LeaseHeldError, match="retrain acme"):
            load_context(new)
        set_patience(60)
        holder.communicate("end\n")
    assert named_in_database(new / "mlflow.db", original.store.as_uri())
    with lease(new, holder="the same process"):
        assert load_context(new).store == new
    assert not named_in_database(new / "mlflow.db", original.store.as_uri())
