"""The scheduled flows on a real Prefect server and worker."""

from __future__ import annotations

import subprocess
import sys
import time
import urllib.request
from socket import socket

import pytest

from tests.flows.conftest import ROOT, environment


@pytest.fixture(scope="module")
def server(walked, tmp_path_factory):
    """A Prefect server on loopback with our deployments; yields a function that runs `prefect words…` against it."""
    home = tmp_path_factory.mktemp("prefect")
    with socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    env = environment(walked, PREFECT_HOME=str(home), PREFECT_API_URL=f"http://127.0.0.1:{port}/api", COLUMNS="200")

    def prefect(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, "-m", "prefect", "--no-prompt", *words], cwd=ROOT, env=env,
                              capture_output=True, text=True, timeout=300)  # fmt: skip

    with (home / "log").open("wb") as log:
        process = subprocess.Popen([sys.executable, "-m", "prefect", "server", "start", "--port", str(port)],
                                   cwd=ROOT, env=env, stdout=log, stderr=subprocess.STDOUT)  # fmt: skip
    try:
        _wait(f"http://127.0.0.1:{port}/api/health", process)
        assert prefect("work-pool", "create", "keepline", "--type", "process").returncode == 0
        deployed = prefect("deploy", "--all")
        assert deployed.returncode == 0, deployed.stdout + deployed.stderr
        yield prefect
    finally:
        process.terminate()
        process.wait(30)


def _wait(url: str, process: subprocess.Popen) -> None:
    for _ in range(240):
        assert process.poll() is None
        try:
            with urllib.request.urlopen(url, timeout=2):
                return
        except OSError:
            time.sleep(0.5)
    raise AssertionError("the Prefect server did not start")


def test_prefect_lists_the_deployments_with_their_schedules(server):
    listed = server("deployment", "ls").stdout
    assert "evaluate/nightly" in listed
    assert "retrain/weekly" in listed
    for name, cron in (("evaluate/nightly", "0 4 * * *"), ("retrain/weekly", "0 2 * * 0")):
        assert cron in server("deployment", "inspect", name).stdout


def test_a_worker_runs_the_nightly_evaluation(server, walked):
    (walked / "nightly.json").unlink(missing_ok=True)
    asked = server("deployment", "run", "evaluate/nightly", "--param", f'store="{walked}"')
    assert asked.returncode == 0, asked.stderr
    worked = server("worker", "start", "--pool", "keepline", "--run-once")
    assert worked.returncode == 0, worked.stderr
    assert "COMPLETED" in server("flow-run", "ls").stdout
    assert (walked / "nightly.json").exists()
