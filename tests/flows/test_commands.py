"""What commands say to a mistake: what, which thing, what next. They create nothing on the way."""

from __future__ import annotations

import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from data import versioning
from data.files import write_json, write_table
from flows.runtime.settings import ROOT
from tests.flows.conftest import keepline

MISTAKES = {
    "a kind that is none": (
        ["rollback", "nosuch"],
        "'nosuch' is no kind of model. Known: asr, reader",
    ),
    "a kind that is none to search": (["search", "nosuch"], "nosuch"),
    "a day that is none": (
        ["ledger", "--at", "yesterday"],
        "'yesterday' is no day. Write it as YYYY",
    ),
    "a file that is not there": (
        ["read", "none.txt"],
        "none.txt: no such file. Name a file of text",
    ),
    "a dataset without a store": (["checkout", "asr@champion", "out"], "no run has been here. Run"),
    "a repair without a store": (["data", "repair"], "no run has been here. Run"),
    "a rollback without a store": (["rollback", "asr"], "no run has been here. Run"),
    "label issues without a store": (["label-issues"], "no run has been here. Run"),
    "its old name too": (["suspects"], "no run has been here. Run"),
    "a stage that is none": (["stage", "nosuch"], "'nosuch' is no stage. Stages: simulate, ingest"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_told_in_a_line_and_creates_nothing(tmp_path: Path, mistake: str) -> None:
    words, message = MISTAKES[mistake]
    store = tmp_path / "store"
    done = keepline(store, *words, COLUMNS="400")
    assert done.returncode != 0
    assert message in " ".join(done.stderr.replace("│", " ").split())
    assert "Traceback" not in done.stderr
    assert not store.exists()


def test_D4_a_damaged_remote_is_repaired_by_the_command_its_error_names(tmp_path: Path) -> None:
    store = tmp_path / "store"
    clean, shards = store / "clean", store / "shards"
    write_table(clean / "contacts.parquet", pl.DataFrame({"contact_id": ["c1"]}))
    shards.mkdir()
    (shards / "0.tar").write_bytes(b"calls")
    (store / ".markers").mkdir()
    remote = str(store / "remote")
    made = versioning.version(
        clean,
        shards,
        store / "versioned",
        remote=remote,
        git_commit="c" * 40,
        now=datetime.now(UTC),
    )
    write_json(store / "version.json", {"dvc_hash": made.dvc_hash})
    for damaged in (path for path in (store / "remote").rglob("*") if path.is_file()):
        damaged.chmod(0o644)
        damaged.write_bytes(b"damaged")
    refused = keepline(store, "checkout", made.dvc_hash, str(tmp_path / "out"))
    assert refused.returncode == 1
    assert "keepline data repair" in " ".join(refused.stderr.split())
    repaired = keepline(store, "data", "repair")
    assert repaired.returncode == 0, repaired.stderr
    assert "is whole, 3 objects were repaired" in " ".join(repaired.stdout.split())
    assert keepline(store, "checkout", made.dvc_hash, str(tmp_path / "out")).returncode == 0
    assert (tmp_path / "out" / "shards" / "0.tar").read_bytes() == b"calls"
    assert "0 objects were repaired" in keepline(store, "data", "repair").stdout


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder with the Makefile and a store that somebody needs."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    kept = tmp_path / "data" / "store" / "registry" / "ledger.jsonl"
    kept.parent.mkdir(parents=True)
    kept.write_text("{}")
    return tmp_path


def make(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["make", *words], cwd=folder, capture_output=True, text=True)


def test_make_clean_keeps_stores(checkout: Path) -> None:
    assert make(checkout, "clean").returncode == 0
    assert (checkout / "data/store/registry/ledger.jsonl").exists()


def test_make_purge_lists_what_it_would_delete_and_wants_the_name(checkout: Path) -> None:
    listed = make(checkout, "purge")
    assert listed.returncode != 0
    assert "data/store/registry" in listed.stdout
    assert "make purge STORE=data/store SITE=store" in listed.stdout
    assert make(checkout, "purge", "SITE=other").returncode != 0
    assert (checkout / "data/store/registry/ledger.jsonl").exists()
    assert make(checkout, "purge", "SITE=store").returncode == 0
    assert not (checkout / "data/store/registry").exists()
