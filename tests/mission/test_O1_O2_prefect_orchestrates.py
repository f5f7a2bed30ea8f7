"""O1, O2, M3, M4, S2 on a real Prefect server and worker, with a store that one run has filled.

O1: every flow can be deployed, scheduled, triggered and run alone. A churn-only retraining runs no
speech stage. O2: reused stages are Cached, decisions and figures are artifacts, MLflow may be away
for 20 s, approval suspends. M3: a run whose machine is gone ends as crashed. M4: the nightly
evaluation fires by its cron.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from data.files import read_json
from flows.runtime import heartbeats, notifications
from flows.runtime.context import load_context
from tests.flows.conftest import SMALL, environment
from tests.prefect_helpers import PrefectServer, free_port, prefect_server, wait_for
from training.tracking import get_run

FLOWS = ("ingest", "label", "finetune", "judge", "release", "retrain", "evaluate", "watch", "guard")


@pytest.fixture(scope="module")
def store(walked: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The store, in its place, with parameters of its own beside it."""
    shutil.copy(SMALL, walked.parent / "params.yaml")
    return walked


@pytest.fixture(scope="module")
def server(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrefectServer]:
    """A server with the deployments of the demo, none of which starts by itself, and a worker."""
    env = environment(store, KEEPLINE_PARAMS=str(store.parent / "params.yaml"))
    with prefect_server(env, tmp_path_factory.mktemp("prefect")) as running:
        deployed = running.keepline("deploy", "--site", "demo")
        assert deployed.returncode == 0, deployed.stdout + deployed.stderr
        for flow in FLOWS:
            for schedule in running.get(f"/deployments/name/{flow}/demo")["schedules"]:
                _change_schedule(running, flow, schedule["id"], active=False)
        with running.worker():
            yield running


@pytest.fixture(scope="module")
def due(server: PrefectServer) -> datetime:
    """When the nightly evaluation is due by its cron: soon, while other tests run."""
    at = datetime.now(UTC).replace(second=0, microsecond=0) + timedelta(minutes=2)
    (schedule,) = server.get("/deployments/name/evaluate/demo")["schedules"]
    cron = {"cron": f"{at.minute} {at.hour} * * *", "timezone": "UTC"}
    _change_schedule(server, "evaluate", schedule["id"], active=True, schedule=cron)
    return at


def _change_schedule(server: PrefectServer, flow: str, schedule_id: str, **change: Any) -> None:
    deployment = server.get(f"/deployments/name/{flow}/demo")
    place = f"{server.api}/deployments/{deployment['id']}/schedules/{schedule_id}"
    httpx.patch(place, json=change, timeout=60).raise_for_status()


def test_O1_every_flow_is_deployed_for_its_site(server: PrefectServer) -> None:
    for flow in FLOWS:
        deployment = server.get(f"/deployments/name/{flow}/demo")
        assert deployment["parameters"] == {"site": "demo"}
        assert set(deployment["tags"]) == {"keepline", "site:demo"}
        assert deployment["description"]
        assert deployment["concurrency_limit"] or deployment["global_concurrency_limit"]
    names = {automation["name"] for automation in server.post("/automations/filter")}
    assert names == {
        "keepline demo labels after ingestion",
        "keepline demo retrains after drift",
        "keepline demo watches after promotion",
        "keepline: end runs without a sign of life",
    }


def test_M3_a_killed_flow_ends_as_crashed_its_run_as_failed_and_people_are_told(
    server: PrefectServer, store: Path
) -> None:
    """Before the evaluation that works: that takes up the run which this one leaves as failed."""
    (store / notifications.FILE).unlink(missing_ok=True)
    run_id = server.start_run("evaluate/demo")
    folder = store / heartbeats.FOLDER
    (path,) = wait_for(lambda: list(folder.glob("run-*.json")), every_s=0.05)
    heartbeat = json.loads(path.read_text())
    os.kill(heartbeat["pid"], signal.SIGKILL)
    assert server.ended(run_id, seconds=120)["state"]["name"] == "Crashed"
    run = wait_for(lambda: get_run(heartbeat["place"], heartbeat["id"])["status"] == "FAILED", 120)
    assert run
    (notice,) = (store / notifications.FILE).read_text().splitlines()
    assert heartbeat["id"] in notice
    assert not list(folder.glob("*.json"))


ALONE = """
import sys
from flows.finetune import finetune
from flows.guard import guard
from flows.ingest import ingest
from flows.judge import judge
from flows.label import label
from flows.release import release

ingest("demo")
label("demo")
finetune("demo", "churn")
judge("demo", "churn")
release("demo", "churn")
guard("demo")
try:
    finetune("acme", "churn")
except ValueError as error:
    print("REFUSED", error)
"""


def test_O1_each_flow_runs_alone_and_none_without_a_site_it_knows(server: PrefectServer) -> None:
    done = server.run("-c", ALONE)
    assert "REFUSED 'acme' is no site" in done.stdout, done.stdout[-2000:] + done.stderr[-3000:]
    ended = {run["name"]: run for run in server.runs()}
    for name in ("ingest demo", "label demo", "finetune churn demo", "judge churn demo"):
        run = ended[name]
        assert run["state"]["name"] == "Completed"
        assert set(server.tasks(run["id"]).values()) <= {"Cached", "Completed"}
    assert server.tasks(ended["judge churn demo"]["id"]) == {"decide_churn": "Cached"}
    assert ended["finetune churn acme"]["state"]["name"] == "Failed"


def test_O2_a_churn_only_retraining_hears_nothing_asks_and_suspends_until_someone_answers(
    server: PrefectServer, store: Path
) -> None:
    context = load_context(store)
    before = context.registry().alias("churn", "champion")
    _ask_for_approval(store.parent / "params.yaml")
    run_id = server.start_run("retrain/demo", kinds=["churn"])
    run = server.ended(run_id)
    assert run["state"]["name"] == "Completed", run["state"]
    assert run["name"] == "retrain demo"

    tasks = server.tasks(run_id)
    speech = [name for name in tasks if name in ("cut", "pseudo", "transcribe") or "asr" in name]
    assert speech == []
    assert [name for name in tasks if "reader" in name] == []
    assert {"train_churn", "decide_churn", "release_churn", "report"} <= set(tasks)
    assert tasks["features"] == tasks["validate"] == "Cached"
    assert tasks["train_churn"] == "Completed"
    _check_artifacts(server)

    suspended = {"state": {"name": {"any_": ["Suspended"]}}}
    (waits,) = wait_for(lambda: server.runs(**suspended))
    assert waits["name"] == "release churn demo"
    assert waits["deployment_id"] == server.get("/deployments/name/release/demo")["id"]
    assert context.registry().alias("churn", "champion") == before, "nothing moves"
    decision = read_json(store / "decide_churn.json")["decision_id"]
    assert not list((store / ".running").glob("flow-*")), "no process waits"

    refused = server.keepline("approve", decision, "--by", "tester")
    assert "tester trained this model" in refused.stderr.replace("\n", " ")
    assert context.registry().alias("churn", "champion") == before
    answered = server.keepline("approve", decision, "--by", "ben")
    assert "its release goes on" in answered.stdout, answered.stdout + answered.stderr
    released = server.ended(waits["id"])
    assert released["state"]["name"] == "Completed", released["state"]
    assert context.registry().alias("churn", "champion") != before
    assert read_json(store / "release_churn.json")["says"] == "promoted, approved by ben"
    notices = (store / "notices.jsonl").read_text().splitlines()
    titles = [json.loads(line)["title"] for line in notices]
    assert titles[-2] == "a candidate waits for approval"
    assert re.fullmatch(r"churn: v\d+ promoted", titles[-1])


def _ask_for_approval(params: Path) -> None:
    """Trains another churn model, and lets nobody release it but a person."""
    sections = yaml.safe_load(params.read_text())
    sections["churn"]["epochs"] = 5
    sections["gates"]["churn"]["approval"] = "required"
    params.write_text(yaml.safe_dump(sections))


def _check_artifacts(server: PrefectServer) -> None:
    artifacts = {row["key"]: row for row in server.post("/artifacts/latest/filter")}
    assert "| check | verdict | why |" in artifacts["demo-decision-churn"]["data"]
    figures = json.loads(artifacts["demo-figures-churn"]["data"])
    brier = next(row for row in figures if row["metric"] == "brier")
    assert "[" in brier["candidate"], "with its interval"
    assert "recorded hours" in artifacts["demo-hours"]["description"]
    assert "MLflow runs" in artifacts["demo-mlflow"]["data"]
    assert "index.html" in artifacts["demo-report"]["data"]


@contextmanager
def _mlflow(store: Path) -> Iterator[str]:
    """A real MLflow server on the store's database; yields its address."""
    settings, port = load_context(store).settings, free_port()
    words = ["server", "--port", str(port), "--backend-store-uri", settings.tracking_uri]
    process = subprocess.Popen(
        [sys.executable, "-m", "mlflow", *words, "--workers", "1"],
        env={**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        wait_for(lambda: socket.create_connection(("127.0.0.1", port), 1))
        yield f"127.0.0.1:{port}"
    finally:
        os.killpg(process.pid, 15)
        process.wait(60)


class _Road:
    """A road to a server that is closed for a while, from the first who takes it."""

    def __init__(self, to: str, closed_s: float) -> None:
        self.to, self.closed_s, self.since, self.refused = to, closed_s, 0.0, 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        while True:
            client, _ = self.listener.accept()
            self.since = self.since or time.monotonic()
            if time.monotonic() - self.since < self.closed_s:
                self.refused += 1
                client.close()
                continue
            host, port = self.to.split(":")
            server = socket.create_connection((host, int(port)))
            for pair in ((client, server), (server, client)):
                threading.Thread(target=self._carry, args=pair, daemon=True).start()

    @staticmethod
    def _carry(source: socket.socket, target: socket.socket) -> None:
        try:
            while block := source.recv(65536):
                target.sendall(block)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            pass


RELEASE = "from flows.release import release; release('demo', 'reader')"


def test_O2_with_mlflow_away_for_20_s_the_run_completes(server: PrefectServer, store: Path) -> None:
    with _mlflow(store) as address:
        road = _Road(address, closed_s=20.0)
        done = server.run("-c", RELEASE, MLFLOW_TRACKING_URI=f"http://127.0.0.1:{road.port}")
    assert done.returncode == 0, done.stderr[-3000:]
    assert road.refused > 1
    (run,) = server.runs(name={"any_": ["release reader demo"]})
    assert run["state"]["name"] == "Completed"
    rows = {row["name"]: row for row in server.task_rows(run["id"])}
    assert rows["release_reader"]["run_count"] > 1, "retried"
    assert rows["active_reader"]["run_count"] == 1


DRIFT = """
from prefect.events.worker import EventsWorker
from flows.runtime.context import context_of
from flows.runtime.published import emit_drift
from flows.runtime.settings import prepare

prepare()
context = context_of("demo")
for _ in range(3):
    emit_drift(context, {"id": "demo-level", "reasons": ["the level of the calls"]})
EventsWorker.instance().drain()
"""


def test_O2_drift_starts_one_retraining_however_often_it_is_told(
    server: PrefectServer, store: Path
) -> None:
    told = server.run("-c", DRIFT)
    assert told.returncode == 0, told.stderr[-2000:]

    def started() -> list[dict[str, Any]]:
        found = server.runs(name={"any_": ["retrain demo"]})
        return [run for run in found if run["parameters"].get("cause") == "drift"]

    (first,) = wait_for(started)
    assert server.run("-c", DRIFT).returncode == 0, "the next night says so again"
    again = server.start_run("retrain/demo", cause="drift")
    assert server.ended(first["id"])["state"]["name"] == "Completed"
    assert server.ended(again)["state"]["name"] == "Skipped"
    assert server.tasks(again) == {}
    assert {run["id"] for run in started()} == {first["id"], again}
    assert len(list((store / "retrainings").iterdir())) == 1
    states = server.tasks(first["id"])
    assert [states[name] for name in ("validate", "cut", "train_asr", "label")] == ["Cached"] * 4


DEAD = """
import sys
from prefect.client.orchestration import get_client
from prefect.events import emit_event
from prefect.events.worker import EventsWorker
from prefect.flows import flow
from prefect.states import Running
from flows.runtime import automations

automations.register(automations.zombies(silence_s=10.0, tag="gone"))

@flow
def gone():
    pass

with get_client(sync_client=True) as client:
    run = client.create_flow_run(gone, tags=["gone"], state=Running())
emit_event(
    "prefect.flow-run.heartbeat",
    resource={"prefect.resource.id": f"prefect.flow-run.{run.id}"},
    related=[{"prefect.resource.id": "prefect.tag.gone", "prefect.resource.role": "tag"}],
)
EventsWorker.instance().drain()
print("RUN", run.id)
"""


def test_M3_a_run_whose_machine_is_gone_ends_as_crashed(server: PrefectServer) -> None:
    done = server.run("-c", DEAD)
    assert done.returncode == 0, done.stderr[-2000:]
    run = server.ended(done.stdout.split("RUN ")[1].strip(), seconds=100)
    assert run["state"]["name"] == "Crashed"
    assert "No sign of life" in run["state"]["message"]


def test_M4_the_nightly_evaluation_fires_by_its_cron(
    server: PrefectServer, store: Path, due: datetime
) -> None:
    def fired() -> list[dict[str, Any]]:
        found = server.runs(name={"any_": ["evaluate demo"]})
        return [run for run in found if run["auto_scheduled"] and run["start_time"]]

    (run,) = wait_for(fired)
    assert server.ended(run["id"])["state"]["name"] == "Completed"
    assert datetime.fromisoformat(run["expected_start_time"]) == due
    assert server.tasks(run["id"])["nightly"] == "Completed"
    assert (store / "nightly.json").exists()
