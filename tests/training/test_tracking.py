"""Runs in MLflow, on a real SQLite store."""

from __future__ import annotations

from pathlib import Path

import pytest

from training.tracking import TrackingError, get_run, list_runs, start_or_resume

VERSION = {
    "dvc_hash": "0123456789abcdef0123456789abcdef.dir",
    "git_commit": "abc",
    "rows": {"contacts": 3},
}


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    """One database for the module: making one takes seconds."""
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow') / 'mlflow.db'}"


def test_a_run_holds_parameters_metrics_data_and_how_it_ended(uri: str, tmp_path: Path) -> None:
    card = tmp_path / "card.md"
    card.write_text("a card")
    with start_or_resume(
        uri,
        "asr",
        "whole",
        params={"steps": 3, "augmentation": {"noise": 0.5}},
        tags={"kind": "asr"},
    ) as run:
        run.log_metrics({"loss": 2.0}, step=1)
        run.log_metrics({"loss": 1.0}, step=2)
        run.log_input(VERSION, "calls")
        run.log_artifact(card)
    stored = get_run(uri, run.run_id)
    assert stored["status"] == "FINISHED"
    assert stored["params"] == {"steps": "3", "augmentation.noise": "0.5"}
    assert stored["metrics"] == {"loss": 1.0}
    assert stored["tags"]["kind"] == "asr"
    assert stored["inputs"] == [
        {
            "name": "calls",
            "digest": VERSION["dvc_hash"],
            "context": "training",
            "source": {"dvc_hash": VERSION["dvc_hash"], "git_commit": "abc"},
        }
    ]
    copy = (
        Path(uri.removeprefix("sqlite:///")).parent
        / "mlartifacts"
        / "asr"
        / run.run_id
        / "artifacts"
        / "card.md"
    )
    assert copy.read_text() == "a card"


def test_an_unfinished_run_is_taken_up_again_and_logs_no_step_twice(uri: str) -> None:
    killed = start_or_resume(uri, "asr", "killed", params={"steps": 3})
    killed.log_metrics({"loss": 3.0, "before": 0.9}, step=0)
    killed.log_metrics({"loss": 2.0}, step=10)
    killed.log_metrics({"loss": 1.5}, step=20)
    assert get_run(uri, killed.run_id)["status"] == "RUNNING"  # nobody could say otherwise
    with start_or_resume(uri, "asr", "killed", params={"steps": 3}) as again:
        again.log_metrics({"loss": 3.0, "before": 0.9}, step=0)
        again.log_metrics({"loss": 1.5}, step=20)
        again.log_metrics({"loss": 1.0}, step=30)
    assert again.resumed
    assert again.run_id == killed.run_id
    history = again._client.get_metric_history(again.run_id, "loss")
    assert [(entry.step, entry.value) for entry in history] == [
        (0, 3.0),
        (10, 2.0),
        (20, 1.5),
        (30, 1.0),
    ]
    assert get_run(uri, again.run_id)["status"] == "FINISHED"


def test_a_finished_run_is_left_alone_unless_asked_for(uri: str) -> None:
    with start_or_resume(uri, "asr", "twice") as first:
        pass
    with start_or_resume(uri, "asr", "twice") as second:
        pass
    with start_or_resume(uri, "asr", "twice", reuse_finished=True) as third:
        pass
    assert second.run_id != first.run_id
    assert third.run_id == second.run_id


def test_an_error_ends_as_failed_and_the_next_attempt_goes_on(uri: str) -> None:
    with pytest.raises(RuntimeError), start_or_resume(uri, "asr", "broken") as run:
        raise RuntimeError("no more disk")
    stored = get_run(uri, run.run_id)
    assert stored["status"] == "FAILED"
    assert stored["tags"]["keepline.error"] == "RuntimeError: no more disk"
    assert start_or_resume(uri, "asr", "broken").run_id == run.run_id


def test_changed_settings_are_not_mixed_into_an_old_run(uri: str) -> None:
    run = start_or_resume(uri, "asr", "changed", params={"steps": 3})
    with pytest.raises(TrackingError, match=rf"run {run.run_id}: began with steps=3, not 4"):
        start_or_resume(uri, "asr", "changed", params={"steps": 4})


def test_runs_are_listed_newest_first_and_by_experiment(uri: str) -> None:
    with (
        start_or_resume(uri, "churn", "one") as first,
        start_or_resume(uri, "churn", "two") as second,
    ):
        pass
    assert [run["run_id"] for run in list_runs(uri, "churn")] == [second.run_id, first.run_id]
    assert len(list_runs(uri)) > 2
    assert list_runs(uri, "nothing") == []


def test_an_unknown_run_is_named(uri: str) -> None:
    with pytest.raises(TrackingError, match="run 00ff: MLflow has none of that id"):
        get_run(uri, "00ff")
