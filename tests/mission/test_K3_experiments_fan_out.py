"""K3: experiments fan out, by DVC's queue and by Optuna, and each is a run one can find again."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from data.files import write_json, write_table
from flows.cli import app
from tests.churn_helpers import churn_table
from tests.flows.conftest import ROOT, SMALL, environment
from training.browse import browse

Checkout = tuple[Path, dict[str, str]]  # its folder and the environment of its commands


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """The checkout's files in a git repository of their own; nothing in it has been run."""
    folder = tmp_path_factory.mktemp("fan") / "keepline"
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    for name in listed.stdout.splitlines():
        if (ROOT / name).is_file() and not name.startswith(("tests/", "benchmarks/", "docs/")):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    env = environment(folder / "data" / "store")
    identity = ["-c", "user.name=tester", "-c", "user.email=tester@example.org"]
    for words in (["init", "-q"], ["add", "-A"], [*identity, "commit", "-qm", "clone"]):
        subprocess.run(["git", *words], cwd=folder, check=True, env=env)
    return folder, env


def test_K3_several_values_become_an_experiment_each_in_dvcs_queue(checkout: Checkout) -> None:
    folder, env = checkout

    def dvc(*words: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "dvc", *words],
            cwd=folder,
            env=env,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        return done.stdout

    dvc("exp", "run", "--queue", "-S", "++churn.ridge=0.3,3", "-S", "++churn.dropout=0.1,0.3")
    assert dvc("queue", "status").count("Queued") == 4
    assert (
        yaml.safe_load((folder / "params.yaml").read_text()).get("churn", {}).get("ridge") is None
    )


def test_K3_a_search_leaves_its_trials_below_one_run_and_says_how_to_use_the_best(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "store"
    for name, value in environment(store).items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    params = yaml.safe_load(SMALL.read_text())
    params["churn"] |= {"epochs": 1, "additive_steps": 10}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
    monkeypatch.setenv("KEEPLINE_PARAMS", str(tmp_path / "params.yaml"))
    write_table(store / "features.parquet", churn_table(300))
    write_json(store / "version.json", {"dvc_hash": "d" * 32})
    done = CliRunner().invoke(app, ["search", "churn", "--trials", "2", "--store", str(store)])
    assert done.exit_code == 0, done.exception or done.output
    output = " ".join(done.output.split())
    assert "dvc exp run -S ++churn." in output
    assert "The test part was not looked at" in output
    printed = yaml.safe_load(done.output.split("In params.yaml:")[1].split("As an experiment:")[0])
    assert set(printed["churn"]) >= {"ridge", "learning_rate", "hidden"}
    runs = browse(f"sqlite:///{store / 'mlflow.db'}")
    trials = [run for run in runs if run["tags"].get("kind") == "trial"]
    (parent,) = [run for run in runs if run["tags"].get("kind") == "search"]
    assert len(trials) == 2
    assert all(run["status"] == "FINISHED" and run["metrics"]["objective"] > 0 for run in trials)
    with closing(sqlite3.connect(store / "mlflow.db")) as base:
        rows = base.execute(
            "SELECT run_uuid FROM tags WHERE key = 'mlflow.parentRunId' AND value = ?",
            [parent["run_id"]],
        )
        assert {row[0] for row in rows} == {run["run_id"] for run in trials}
    assert parent["metrics"]["best_loss"] == pytest.approx(
        min(run["metrics"]["objective"] for run in trials)
    )
    again = CliRunner().invoke(app, ["search", "churn", "--trials", "2", "--store", str(store)])
    assert "2 trials (2 from before)" in " ".join(again.output.split())
    assert len(browse(f"sqlite:///{store / 'mlflow.db'}")) == len(runs)
