"""The scheduled flows on a real Prefect server and worker."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from socket import socket

import pytest

from flows.runtime import heartbeats, notifications
from tests.flows.conftest import ROOT, environment
from tests.service_helpers import until
from training.tracking import get_run

Prefect = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def server(walked: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prefect]:
    """A Prefect server on loopback with our deployments.

    Yields a function that runs `prefect words…` against it.
    """
    home = tmp_path_factory.mktemp("prefect")
    with socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    env = environment(
        walked,
        PREFECT_HOME=str(home),
        PREFECT_API_URL=f"http://127.0.0.1:{port}/api",
        COLUMNS="200",
    )

    def prefect(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "prefect", "--no-prompt", *words],
            cwd=ROOT,
            env=env,
            capture_output=True,
            text=True,
            timeout=300,
        )

    with (home / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "prefect", "server", "start", "--port", str(port)],
            cwd=ROOT,
            env=env,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        _wait(f"http://127.0.0.1:{port}/api/health", process)
        assert prefect("work-pool", "create", "keepline", "--type", "process").returncode == 0
        deployed = prefect("deploy", "--all")
        assert deployed.returncode == 0, deployed.stdout + deployed.stderr
        yield prefect
    finally:
        process.terminate()
        process.wait(30)


def _wait(url: str, process: subprocess.Popen[bytes]) -> None:
    for _ in range(240):
        assert process.poll() is None
        try:
            with urllib.request.urlopen(url, timeout=2):
                return
        except OSError:
            time.sleep(0.5)
    raise AssertionError("the Prefect server did not start")


def test_prefect_lists_the_deployments_with_their_schedules(server: Prefect) -> None:
    listed = server("deployment", "ls").stdout
    assert "evaluate/nightly" in listed
    assert "retrain/weekly" in listed
    for name, cron in (("evaluate/nightly", "0 4 * * *"), ("retrain/weekly", "0 2 * * 0")):
        assert cron in server("deployment", "inspect", name).stdout


def test_M3_a_killed_flow_ends_as_crashed_its_run_as_failed_and_people_are_told(
    server: Prefect, walked: Path
) -> None:
    """Before the evaluation that works: that takes up the run which this one leaves as failed."""
    (walked / notifications.FILE).unlink(missing_ok=True)
    assert (
        server("deployment", "run", "evaluate/nightly", "--param", f'store="{walked}"').returncode
        == 0
    )
    with ThreadPoolExecutor(1) as pool:
        worked = pool.submit(server, "worker", "start", "--pool", "keepline", "--run-once")
        folder = walked / heartbeats.FOLDER
        until(
            lambda: len(list(folder.glob("*.json"))) == 2, 120
        )  # the flow, and the MLflow run it has begun
        (path,) = folder.glob("run-*.json")
        heartbeat = json.loads(path.read_text())
        os.kill(heartbeat["pid"], signal.SIGKILL)
        killed_at = time.monotonic()
        worked.result()
        assert time.monotonic() - killed_at < 120
    assert "CRASHED" in server("flow-run", "ls").stdout
    assert get_run(heartbeat["place"], heartbeat["id"])["status"] == "FAILED"
    (notice,) = (walked / notifications.FILE).read_text().splitlines()
    assert heartbeat["id"] in notice
    assert not list(folder.glob("*.json"))


def test_a_worker_runs_the_nightly_evaluation(server: Prefect, walked: Path) -> None:
    (walked / "nightly.json").unlink(missing_ok=True)
    started = server("deployment", "run", "evaluate/nightly", "--param", f'store="{walked}"')
    assert started.returncode == 0, started.stderr
    worked = server("worker", "start", "--pool", "keepline", "--run-once")
    assert worked.returncode == 0, worked.stderr
    assert "COMPLETED" in server("flow-run", "ls").stdout
    assert (walked / "nightly.json").exists()
