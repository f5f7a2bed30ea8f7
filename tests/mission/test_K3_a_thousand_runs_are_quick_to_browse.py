"""K3: a thousand runs are listed and filtered quickly, and the same way as MLflow would tell them."""

import os
import resource
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from tests.registry_helpers import RegistryFixture
from training.browse import BrowseError, browse
from training.tracking import list_runs

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    from mlflow.entities import Metric, Param, RunTag

    fixture = RegistryFixture(tmp_path_factory.mktemp("runs"))
    experiment = fixture.registry.client.create_experiment("more")
    for n in range(6):
        run = fixture.registry.client.create_run(
            experiment, run_name=f"asr {n}", start_time=1000 + n
        )
        tags = [RunTag("kind", "asr"), RunTag("verdict", "accepted" if n % 2 else "refused")]
        fixture.registry.client.log_batch(
            run.info.run_id,
            [Metric("test_wer", 0.1 * n, 0, 0)],
            [Param("asr.steps", str(100 * n))],
            tags,
        )
    fixture.registry.client.delete_run(run.info.run_id)
    return fixture.uri


def test_K3_reading_the_tables_tells_what_mlflow_tells(uri: str) -> None:
    runs = [{key: value for key, value in run.items() if key != "inputs"} for run in list_runs(uri)]
    assert browse(uri) == runs
    assert len(runs) == 6  # five, and the fixture's own; the deleted one is gone


@pytest.mark.parametrize(
    ("where", "names"),
    [
        (["test_wer<0.25"], ["asr 2", "asr 1", "asr 0"]),
        (["test_wer >= 0.1", "verdict=accepted"], ["asr 3", "asr 1"]),
        (["asr.steps>=300", "kind=asr"], ["asr 4", "asr 3"]),
        (["name=asr 4"], ["asr 4"]),
        (["verdict!=refused"], ["asr 3", "asr 1"]),
        (["nobody=knows"], []),
    ],
)
def test_K3_conditions_choose(uri: str, where: list[str], names: list[str]) -> None:
    assert [run["name"] for run in browse(uri, where)] == names


def test_K3_runs_are_sorted_by_a_metric_and_limited(uri: str) -> None:
    assert [run["name"] for run in browse(uri, ["kind=asr"], sort="test_wer", limit=2)] == [
        "asr 0",
        "asr 1",
    ]


def test_K3_a_condition_that_is_none_is_told(uri: str) -> None:
    with pytest.raises(BrowseError, match="write a name"):
        browse(uri, ["test_wer is small"])


def test_K3_a_store_without_runs_has_none(tmp_path: Path) -> None:
    assert browse(f"sqlite:///{tmp_path}/mlflow.db") == []
    assert list(tmp_path.iterdir()) == []


def test_K3_the_command_tells_of_a_thousand_runs_in_two_seconds(uri: str) -> None:
    """Seconds of the processor, Python's start included: a busy machine is no fault. bench_runs.py
    has the others.
    """
    with closing(sqlite3.connect(uri.removeprefix("sqlite:///"))) as base:
        (run,) = base.execute("SELECT run_uuid FROM runs WHERE name = 'asr 3'").fetchone()
        for table in ("runs", "latest_metrics", "params", "tags"):
            names = [row[1] for row in base.execute(f"PRAGMA table_info({table})")]
            taken = ", ".join(
                "printf('%032d', n)" if name == "run_uuid" else f'"{name}"' for name in names
            )
            base.execute(
                "WITH RECURSIVE many(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM many WHERE n < 1000) "
                f"INSERT INTO {table} SELECT {taken} FROM many, {table} WHERE run_uuid = ?",
                [run],
            )
        base.commit()
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    words = [
        "runs",
        "--where",
        "test_wer<0.35",
        "--where",
        "kind=asr",
        "--sort",
        "test_wer",
        "--limit",
        "1",
    ]
    done = subprocess.run(
        [sys.executable, "-m", "flows.cli", *words],
        cwd=ROOT,
        check=True,
        text=True,
        capture_output=True,
        env={**os.environ, "MLFLOW_TRACKING_URI": uri},
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert "1003 more" in done.stdout, (
        "asr 0 to 3 and a thousand copies of the last, less the one shown"
    )
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 2
