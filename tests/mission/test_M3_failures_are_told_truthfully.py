"""M3: what was killed ends as failed within two minutes, what hangs is stopped, people are told of
it.
"""

import dataclasses
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from data.files import write_json
from flows.candidate import runs
from flows.runtime import heartbeats, notifications
from flows.runtime.context import RunContext
from flows.runtime.params import Params
from flows.runtime.settings import from_environment
from tests.registry_helpers import RegistryFixture
from training.tracking import get_run, mark_failed

ROOT = Path(__file__).parents[2]
Inbox = tuple[str, list[dict[str, Any]]]
WORK = """
import sys, time
from pathlib import Path
from flows.runtime.heartbeats import heartbeat

store, what, id, place = sys.argv[1:]
with heartbeat(Path(store), what, id, "churn", place):
    print("at work", flush=True)
    time.sleep(600)
"""


def _at_work(store: Path, what: str, id: str, place: str) -> subprocess.Popen[str]:
    """A process that works on something."""
    process = subprocess.Popen(
        [sys.executable, "-c", WORK, str(store), what, id, place],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert process.stdout is not None
    assert process.stdout.readline().strip() == "at work"
    return process


@pytest.fixture
def inbox() -> Iterator[Inbox]:
    """A web hook on loopback: its address, and what was sent there."""
    got: list[dict[str, Any]] = []

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Hook)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"json://127.0.0.1:{server.server_port}/hook", got
    server.shutdown()


def test_M3_a_killed_training_ends_as_failed_within_two_minutes_and_people_are_told(
    tmp_path: Path, inbox: Inbox
) -> None:
    fixture = RegistryFixture(tmp_path)
    training, run_id = _at_work(tmp_path, "run", fixture.run_id, fixture.uri), fixture.run_id
    address, got = inbox
    guard = subprocess.Popen(
        [sys.executable, "-m", "flows.cli", "guard", "--every", "1", "--store", str(tmp_path)],
        cwd=ROOT,
        env={**os.environ, "KEEPLINE_NOTIFY": address, "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        time.sleep(2)
        assert get_run(fixture.uri, run_id)["status"] == "RUNNING", "who lives is left alone"
        training.send_signal(signal.SIGKILL)
        training.wait()
        killed_at = time.monotonic()
        assert guard.stdout is not None
        guard_output = guard.stdout.readline()
        assert get_run(fixture.uri, run_id)["status"] == "FAILED"
        assert time.monotonic() - killed_at < 120
    finally:
        training.kill()
        guard.terminate()
    assert "killed" in get_run(fixture.uri, run_id)["tags"]["keepline.error"]
    assert run_id in guard_output
    assert run_id in got[0]["message"]
    written = [
        json.loads(line) for line in (tmp_path / notifications.FILE).read_text().splitlines()
    ]
    assert len(got) == len(written) == 1, "once"


def test_M3_a_training_gives_a_sign_of_life_and_goes_on_with_a_run_that_was_ended(
    tmp_path: Path,
) -> None:
    fixture = RegistryFixture(tmp_path)
    write_json(tmp_path / "version.json", {"dvc_hash": "d" * 8, "git_commit": "c", "rows": {}})
    context, signs = (
        RunContext(from_environment({}, tmp_path), Params(), "c"),
        tmp_path / heartbeats.FOLDER,
    )
    with runs.training_run(context, "churn", {}) as run:
        assert [path.name for path in signs.iterdir()] == [f"run-{run.run_id}.json"]
        assert heartbeats.reap(context.settings) == [], "a process does not take itself for dead"
    assert not list(signs.iterdir())
    sign = heartbeats.Heartbeat(
        "run", run.run_id, "churn", fixture.uri, 1, "elsewhere", "2026-03-01T12:00:00+00:00"
    )
    # Killed after it had said that it was finished.
    write_json(signs / "run-x.json", dataclasses.asdict(sign))
    assert heartbeats.reap(context.settings) == []
    assert not list(signs.iterdir())
    assert not (tmp_path / notifications.FILE).exists(), "nothing failed, so nobody is told"
    fixture.registry.client.update_run(run.run_id, status="RUNNING")
    assert mark_failed(fixture.uri, run.run_id, "killed")
    assert not mark_failed(fixture.uri, run.run_id, "killed"), "it has ended"
    with runs.training_run(context, "churn", {}) as again:
        assert again.run_id == run.run_id
    assert get_run(fixture.uri, run.run_id)["status"] == "FINISHED"


def test_M3_looking_at_the_signs_does_not_let_go_of_ones_own(tmp_path: Path) -> None:
    look = "import sys; from pathlib import Path; from flows.runtime.heartbeats import reap; "
    look += "from flows.runtime.settings import from_environment; "
    look += "print(len(reap(from_environment({}, Path(sys.argv[1])))))"
    with heartbeats.heartbeat(tmp_path, "flow", "f1", "churn", ""):
        assert heartbeats.reap(from_environment({}, tmp_path)) == []
        other = subprocess.run(
            [sys.executable, "-c", look, str(tmp_path)], cwd=ROOT, capture_output=True, text=True
        )
        assert other.stdout == "0\n", "another process still finds it alive" + other.stderr
        assert (tmp_path / heartbeats.FOLDER / "flow-f1.json").exists()
    assert not list((tmp_path / heartbeats.FOLDER).iterdir())


def test_M3_a_dead_predecessor_is_found_though_it_had_our_number_and_host(tmp_path: Path) -> None:
    sign = heartbeats.Heartbeat(
        "flow", "f1", "churn", "", os.getpid(), socket.gethostname(), "2026-03-01T12:00:00+00:00"
    )
    # A container started again.
    write_json(tmp_path / heartbeats.FOLDER / "flow-f1.json", dataclasses.asdict(sign))
    assert heartbeats.reap(from_environment({}, tmp_path)) == [sign]
    assert not list((tmp_path / heartbeats.FOLDER).iterdir())


def test_M3_what_lives_is_left_alone_until_it_has_run_longer_than_anything_should(
    tmp_path: Path,
) -> None:
    hanging = _at_work(tmp_path, "flow", "f1", "")
    settings = from_environment({}, tmp_path)
    try:
        assert heartbeats.reap(settings) == []
        assert hanging.poll() is None
        (reaped,) = heartbeats.reap(dataclasses.replace(settings, longest_run_s=0.0))
        assert (reaped.id, hanging.wait(30)) == ("f1", -signal.SIGKILL)
    finally:
        hanging.kill()
    assert "more than the 0 allowed" in (tmp_path / notifications.FILE).read_text()
    assert heartbeats.reap(settings) == []


def test_M3_a_dead_run_whose_server_does_not_answer_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    sign = heartbeats.Heartbeat(
        "run", "r1", "asr", "http://127.0.0.1:9", 1, "elsewhere", "2026-03-01T12:00:00+00:00"
    )
    write_json(tmp_path / heartbeats.FOLDER / "run-r1.json", dataclasses.asdict(sign))
    settings = from_environment({"KEEPLINE_NOTIFY": "nowhere://x"}, tmp_path)
    assert heartbeats.reap(settings) == []
    assert (tmp_path / heartbeats.FOLDER / "run-r1.json").exists()
    assert not (tmp_path / notifications.FILE).exists(), "nothing is told that is not so"
    assert not notifications.notify(settings, "a test", "of an address that is none"), (
        "and who was not reached is known"
    )
