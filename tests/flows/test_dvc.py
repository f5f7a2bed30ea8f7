"""`dvc repro` and `dvc exp run` run the same pipeline, in a clone of the checkout."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from data.files import read_json
from tests.flows.conftest import ROOT, SMALL, environment, keepline

# The folder, and a function that runs `dvc words…` in it.
Clone = tuple[Path, Callable[..., subprocess.CompletedProcess[str]]]


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """The checkout's files in a git repository, with the small profile as params.yaml."""
    folder = tmp_path_factory.mktemp("clone") / "keepline"
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True
    )
    for name in listed.stdout.splitlines():
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    shutil.copy(SMALL, folder / "params.yaml")
    env = environment(folder / "data" / "store", KEEPLINE_PARAMS=str(folder / "params.yaml"))
    identity = ["-c", "user.name=tester", "-c", "user.email=tester@example.org"]
    for words in (["init", "-q"], ["add", "-A"], [*identity, "commit", "-qm", "clone"]):
        subprocess.run(["git", *words], cwd=folder, check=True, env=env)

    def dvc(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "dvc", *words],
            cwd=folder,
            env=env,
            capture_output=True,
            text=True,
            timeout=900,
        )

    return folder, dvc


def test_dvc_repro_runs_the_pipeline_on_the_same_data(clone: Clone, tmp_path: Path) -> None:
    folder, dvc = clone
    done = dvc("repro")
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    store = folder / "data" / "store"
    for stage in ("simulate", "ingest", "validate", "version"):
        assert keepline(tmp_path / "store", "step", stage).returncode == 0
    assert (
        read_json(store / "version.json")["dvc_hash"]
        == read_json(tmp_path / "store/version.json")["dvc_hash"]
    )
    for kind in ("asr", "reader", "churn"):
        assert read_json(store / f"assess_{kind}.json")["candidate"]
        assert not (store / f"evaluate_{kind}.json").exists(), "the test set stays sealed"
    assert not (store / "release_asr.json").exists()
    assert "asr_wer_high" in dvc("metrics", "show").stdout


def test_an_experiment_changes_one_setting_and_runs_only_what_depends_on_it(clone: Clone) -> None:
    folder, dvc = clone
    done = dvc("exp", "run", "-S", "churn.epochs=3")
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert "Running stage 'train_churn'" in done.stdout
    assert "Running stage 'train_asr'" not in done.stdout
    assert yaml.safe_load((folder / "params.yaml").read_text())["churn"]["epochs"] == 3
    assert read_json(folder / "data" / "store" / "train_churn.json")["epochs"] == 3


def test_a_push_and_a_pull_bring_a_lost_table_back(clone: Clone) -> None:
    folder, dvc = clone
    assert dvc("push").returncode == 0
    table = folder / "data" / "store" / "features.parquet"
    content = table.read_bytes()
    table.unlink()
    shutil.rmtree(folder / ".dvc" / "cache")
    pulled = dvc("pull", "data/store/features.parquet")
    assert pulled.returncode == 0, pulled.stderr
    assert Path(table).read_bytes() == content
