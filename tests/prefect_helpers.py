"""What the tests of flows share: a real Prefect server, with our deployments and a worker."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

ROOT = Path(__file__).resolve().parents[1]


def free_port() -> int:
    """A port of loopback that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def wait_for(ready: Callable[[], Any], seconds: float = 600.0, every_s: float = 0.5) -> Any:
    """Asks until the answer is true; returns it. A server that does not answer is asked again."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if result := ready():
                return result
        except (httpx.TransportError, OSError):
            pass
        time.sleep(every_s)
    raise AssertionError("nothing happened in time")


@dataclass
class PrefectServer:
    """A server on loopback and the environment of whoever works with it."""

    env: dict[str, str]
    log: Path

    @property
    def api(self) -> str:
        """The address of its API."""
        return self.env["PREFECT_API_URL"]

    def run(
        self, *words: str, timeout_s: float = 300, **more: str
    ) -> subprocess.CompletedProcess[str]:
        """Runs `python words…` against the server."""
        return subprocess.run(
            [sys.executable, *words],
            cwd=ROOT,
            env={**self.env, **more},
            capture_output=True,
            text=True,
            timeout=timeout_s,
        )

    def prefect(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Runs `prefect words…`."""
        return self.run("-m", "prefect", "--no-prompt", *words)

    def keepline(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Runs `keepline words…`."""
        return self.run("-m", "flows.cli", *words)

    def post(self, path: str, **body: Any) -> Any:
        """Returns what the API answers to a body."""
        for pause_s in (1, 2, 4, 0):
            answer = httpx.post(f"{self.api}{path}", json=body, timeout=60)
            if answer.status_code != httpx.codes.SERVICE_UNAVAILABLE:
                break
            time.sleep(pause_s)  # SQLite was locked by another writer
        answer.raise_for_status()
        return answer.json() if answer.content else None

    def get(self, path: str) -> Any:
        """Returns what the API has at a place."""
        answer = httpx.get(f"{self.api}{path}", timeout=60)
        answer.raise_for_status()
        return answer.json()

    def start_run(self, deployment: str, **parameters: Any) -> str:
        """Has a deployment run now; returns the id of the flow run."""
        found = self.get(f"/deployments/name/{deployment}")
        run = self.post(f"/deployments/{found['id']}/create_flow_run", parameters=parameters)
        return str(run["id"])

    def runs(self, **where: Any) -> list[dict[str, Any]]:
        """Returns flow runs, newest first."""
        found = self.post("/flow_runs/filter", flow_runs=where, sort="START_TIME_DESC")
        assert isinstance(found, list)
        return found

    def ended(self, run_id: str, seconds: float = 600.0) -> dict[str, Any]:
        """Waits until a flow run has ended; returns it."""
        final = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")

        def look() -> dict[str, Any] | None:
            run: dict[str, Any] = self.get(f"/flow_runs/{run_id}")
            return run if run["state"]["type"] in final else None

        run: dict[str, Any] = wait_for(look, seconds)
        return run

    def tasks(self, run_id: str) -> dict[str, str]:
        """Returns the state's name of each stage of a flow run and of the flows within it."""
        names: dict[str, str] = {}
        for row in self.task_rows(run_id):
            child = row["state"]["state_details"]["child_flow_run_id"]
            names |= self.tasks(child) if child else {row["name"]: row["state"]["name"]}
        return names

    def task_rows(self, run_id: str) -> list[dict[str, Any]]:
        """Returns the task runs of a flow run as the API has them."""
        where = {"id": {"any_": [run_id]}}
        rows = self.post("/task_runs/filter", flow_runs=where, sort="EXPECTED_START_TIME_ASC")
        assert isinstance(rows, list)
        return rows

    @contextmanager
    def worker(self) -> Iterator[None]:
        """A worker that runs what is due, two runs at a time."""
        with self.log.with_name("worker.log").open("wb") as log:
            process = subprocess.Popen(
                [
                    sys.executable,
                    *["-m", "prefect", "worker", "start", "--pool", "keepline", "--limit", "2"],
                ],
                cwd=ROOT,
                env={**self.env, "PREFECT_WORKER_QUERY_SECONDS": "2"},
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        try:
            yield
        finally:
            process.terminate()
            process.wait(60)


@contextmanager
def prefect_server(env: dict[str, str], home: Path) -> Iterator[PrefectServer]:
    """Starts a server whose database is in `home`; `env` is that of who works with it."""
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    env = {
        **{name: value for name, value in env.items() if not name.startswith("PREFECT_")},
        "PREFECT_HOME": str(home),
        "PREFECT_API_URL": f"{address}/api",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "COLUMNS": "200",
        "PYTHONPATH": str(ROOT),
    }
    log = home / "server.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "prefect", "server", "start", "--port", str(port)],
            cwd=ROOT,
            env=env,
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    try:
        wait_for(lambda: httpx.get(f"{address}/api/health", timeout=5).status_code == 200)
        yield PrefectServer(env, log)
    finally:
        process.terminate()
        process.wait(60)
