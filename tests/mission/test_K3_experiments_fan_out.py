"""K3: experiments fan out, by DVC's queue and by Optuna, and each is a run one can find again."""

from __future__ import annotations

import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from data.files import write_json, write_table
from flows.cli import app
from flows.runtime.dvc import show_command
from tests.churn_helpers import churn_table
from tests.experiment_helpers import clone, fill_store
from tests.flows.conftest import SMALL, environment
from training.browse import browse

# Quick to train, and each of the four settings gives another model.
QUICK = {"epochs": 1, "additive_steps": 10, "min_customers": 20, "min_events": 2, "members": 2}
FOUR = ("-S", "++churn.ridge=0.3,3", "-S", "++churn.mark_cost=0.1,1")
COLUMNS = 12  # at most, in what users see


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_K3_a_worker_finishes_four_queued_experiments_and_they_are_readable(tmp_path: Path) -> None:
    made = clone(tmp_path / "keepline", {"churn": QUICK})
    store = fill_store(made)
    made.dvc("exp", "run", "--queue", *FOUR)
    assert made.dvc("queue", "status").count("Queued") == 4
    made.finish_queue(timeout_s=1500)
    status = made.dvc("queue", "status")
    assert status.count("Success") == 4, status
    parameters = yaml.safe_load((made.folder / "params.yaml").read_text())["churn"]
    assert "ridge" not in parameters, "the workspace stays as it was"
    runs = browse(f"sqlite:///{store / 'mlflow.db'}")
    names = {run["tags"]["experiment"] for run in runs}
    assert len(runs) == len(names) == 4, "each experiment has one run of its own"
    assert {run["status"] for run in runs} == {"FINISHED"}
    assert not [name for run in runs for name in run["metrics"] if name.startswith("test_")]
    table = subprocess.run(
        [*show_command(), "--csv"],
        cwd=made.folder,
        env=dict(made.env),
        capture_output=True,
        text=True,
    ).stdout.splitlines()
    columns = table[0].split(",")
    assert len(columns) <= COLUMNS, columns
    assert {"churn_brier", "churn_brier_low", "churn_brier_high", "churn.ridge"} <= set(columns)
    assert names <= {line.split(",")[0] for line in table[1:]}


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
