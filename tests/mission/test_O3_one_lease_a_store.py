"""O3: whoever writes into a store holds its lease, and two contact centres never meet in one."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from data.files import read_tables
from flows import ingest, tasks
from flows.commands.pipeline import run_pipeline
from flows.commands.sites import add
from flows.runtime import parts
from flows.runtime.context import RunContext, context_of, load_context
from flows.runtime.lease import (
    SCHEDULE_WAIT_S,
    LeaseHeldError,
    current_holder,
    lease,
    set_patience,
)
from flows.runtime.sites import SiteError
from flows.stages.runner import run_stage
from tests.factories import an_export
from tests.flows.conftest import ROOT, environment, keepline

SILENT = Console(quiet=True)
# Holds the lease of a store, says so, and works until it is told to end; the store comes first.
HOLD = """
import sys
from pathlib import Path
from flows.runtime.lease import lease
with lease(Path(sys.argv[1]), holder=sys.argv[2]):
    print("held", flush=True)
    sys.stdin.readline()
"""
# Holds the lease, starts a helper that takes it again and works, and waits for it.
HOLD_BY_A_HELPER = """
import subprocess, sys
from pathlib import Path
from flows.runtime.lease import lease
with lease(Path(sys.argv[1]), holder="retrain acme"):
    subprocess.run([sys.executable, "-c", sys.argv[2], sys.argv[1], "stage of acme"])
"""


@contextlib.contextmanager
def process(code: str, *words: str) -> Iterator[subprocess.Popen[str]]:
    """A process that runs `code` in the checkout and has said its first line."""
    started = subprocess.Popen(
        [sys.executable, "-c", code, *words],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert started.stdout is not None
        line = started.stdout.readline()
        assert line == "held\n", started.communicate()[1]
        yield started
    finally:
        if started.poll() is None:
            started.kill()
        started.communicate()


def taking_in(store: Path, export: Path, *, wait_s: float) -> subprocess.Popen[str]:
    """`keepline stage ingest` of an export into the store, started."""
    words = ("stage", "ingest", "--export", str(export), "--store", str(store))
    return subprocess.Popen(
        [sys.executable, "-m", "flows.cli", *words, "--wait", str(wait_s)],
        cwd=ROOT,
        env=environment(store),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_O3_of_two_stages_at_once_one_waits_by_name_or_is_refused(tmp_path: Path) -> None:
    store, export = tmp_path / "acme", an_export(tmp_path / "in")
    with process(HOLD, str(store), "retrain acme") as first:
        name = f"retrain acme (process {first.pid} "
        impatient = taking_in(store, export, wait_s=0.5)
        waiting = taking_in(store, export, wait_s=60)
        assert waiting.stderr is not None
        said = waiting.stderr.readline()
        assert f"waiting for {name}" in said
        assert "since 20" in said
        _, refusal = impatient.communicate(timeout=60)
        assert impatient.returncode == 1
        assert name in refusal
        assert "works on it" in refusal
        assert sorted(path.name for path in store.iterdir()) == ["lease"]
        first.communicate("end\n")
    _, error = waiting.communicate(timeout=60)
    assert waiting.returncode == 0, error
    assert (store / "ingest.json").exists()


def test_O3_kill_9_of_the_holder_frees_the_store(tmp_path: Path) -> None:
    store = tmp_path / "acme"
    with process(HOLD, str(store), "retrain acme") as first:
        assert str(current_holder(store)).startswith("retrain acme (process")
        os.kill(first.pid, signal.SIGKILL)
        first.wait()
        assert current_holder(store) is None
        with lease(store, holder="evaluate acme", wait_s=5):
            assert str(current_holder(store)).startswith("evaluate acme (process")
    assert current_holder(store) is None


def test_O3_what_a_killed_holder_left_running_keeps_the_store(tmp_path: Path) -> None:
    with process(HOLD_BY_A_HELPER, str(tmp_path), HOLD) as first:  # the helper has the lease again
        with (
            pytest.raises(LeaseHeldError, match="retrain acme"),
            lease(tmp_path, holder="x", wait_s=0),
        ):
            pass
        os.kill(first.pid, signal.SIGKILL)
        first.wait()
        with (
            pytest.raises(LeaseHeldError, match=r"what retrain acme .* left running"),
            lease(tmp_path, holder="x", wait_s=0.5),
        ):
            pass
        assert first.stdin is not None
        first.stdin.write("end\n")  # the helper reads it
        first.stdin.flush()
        with lease(tmp_path, holder="x", wait_s=20):
            pass


def test_O3_what_a_holder_starts_takes_its_lease_again_and_a_stranger_does_not(
    tmp_path: Path,
) -> None:
    store, export = tmp_path / "acme", an_export(tmp_path / "in")
    with lease(store, holder="dvc repro"), lease(store, holder="again", wait_s=0):
        ours = os.environ["KEEPLINE_LEASE"]
        words = ("stage", "ingest", "--export", str(export), "--store", str(store), "--wait", "0")
        child = keepline(store, *words, KEEPLINE_LEASE=ours)
        assert child.returncode == 0, child.stderr
        stranger = keepline(store, *words)  # the tests' environment carries no lease
        assert "dvc repro (process" in stranger.stderr
    assert "KEEPLINE_LEASE" not in os.environ


def test_O3_a_forked_child_works_under_the_lease_and_does_not_keep_it(tmp_path: Path) -> None:
    begin, end = os.pipe(), os.pipe()
    with lease(tmp_path, holder="retrain acme"):
        idle = os.fork()
        if idle == 0:
            time.sleep(60)
            os._exit(0)
        helper = os.fork()
        if helper == 0:
            with lease(tmp_path, holder="child", wait_s=0):
                os.write(begin[1], b"x")
                os.read(end[0], 1)
            os._exit(0)
        os.read(begin[0], 1)
    try:
        with (
            pytest.raises(LeaseHeldError, match=r"what retrain acme .* left running"),
            lease(tmp_path, holder="x", wait_s=0),
        ):
            pass
        os.write(end[1], b"x")
        assert os.waitpid(helper, 0)[1] == 0
        helper = 0
        with lease(tmp_path, holder="x", wait_s=5):  # whatever the idle one does
            pass
    finally:
        for child in filter(None, (idle, helper)):
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)


# --- two contact centres ---


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The default store, in which nothing is yet. Two exports lie beside it."""
    store = tmp_path / "store"
    for name in os.environ:
        if name.startswith(("KEEPLINE_", "MLFLOW_")) and name != "KEEPLINE_REAL_DATA":
            monkeypatch.delenv(name)
    monkeypatch.setenv("KEEPLINE_STORE", str(store))
    monkeypatch.setenv("KEEPLINE_SITES", str(tmp_path / "sites.yaml"))
    for name in ("acme", "beta"):
        an_export(tmp_path / "exports" / name)
    return store


def run(name: str, context: RunContext) -> None:
    """Runs one stage as every caller does."""
    run_stage(context, name, SILENT)


def test_O3_a_scheduled_export_lands_in_a_store_of_its_own(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a deployment, `export` without `store` merged real customers into the simulator's."""
    acme, own = home.parent / "exports" / "acme", home / "exports" / "acme"
    shutil.copytree(an_export(home.parent / "simulated", first=5), home / "raw")
    run("ingest", load_context())
    before = read_tables(home / "tables")["customers"]

    # Without Prefect's task around it.
    monkeypatch.setattr(tasks, "run_stage", lambda context, name: run(name, context))
    monkeypatch.setattr(parts, "ingest_stages", lambda **_: ["ingest"])
    ingest.ingest.fn("acme", store=str(own), export=str(acme))
    assert read_tables(own / "tables")["customers"].height > 0
    with pytest.raises(SiteError, match=r"simulated contact centre.*keepline site add"):
        ingest.ingest.fn("demo", export=str(acme))
    assert read_tables(home / "tables")["customers"].equals(before)


def test_O3_another_sites_source_is_refused_by_name_and_nothing_is_created(home: Path) -> None:
    exports = home.parent / "exports"
    for name in ("acme", "beta"):
        add(SILENT, name, str(exports / name), kind="auto", store=None, params=None, timezone=None)
    acme, beta = (home.parent / "stores" / name for name in ("acme", "beta"))
    for store in (acme, home.parent / "own"):
        with pytest.raises(SiteError, match=r"is the source of site beta.*--site beta"):
            run_pipeline(SILENT, exports / "beta", source="auto", store=store)
    with pytest.raises(SiteError, match="simulated contact centre"):
        context_of("demo", export=exports / "beta")
    left = {path.name for path in home.parent.iterdir() if path.name[0] != "."}
    assert left == {"exports", "sites.yaml"}

    run("ingest", context_of("beta"))
    run("ingest", load_context(export=exports / "beta"))  # whose export it is, is known
    record = json.loads((beta / "site.json").read_text())
    assert (record["site"], record["made_at"]) == ("beta", str(beta))
    assert not acme.exists()
    assert not home.exists()


def test_O3_the_simulator_is_refused_in_a_contact_centres_store(home: Path) -> None:
    store = home.parent / "acme"
    run("ingest", load_context(store, home.parent / "exports" / "acme"))
    with pytest.raises(SiteError, match="holds a contact centre's own contacts"):
        run_pipeline(SILENT, None, source="auto", store=store)
    with pytest.raises(SiteError, match="holds a contact centre's own contacts"):
        run("simulate", load_context(store))
    assert not (store / "raw").exists()


def test_O3_two_exports_of_one_name_do_not_share_a_store(home: Path) -> None:
    first, second = (an_export(home.parent / place / "export") for place in ("a", "b"))
    run("ingest", load_context(export=first))
    with pytest.raises(SiteError, match=f"holds {first}.*keepline site add"):
        load_context(export=second)
    run("ingest", load_context(home.parent / "b" / "store", export=second))  # said, so it is meant


@pytest.fixture(autouse=True)
def patience() -> Iterator[None]:
    """Whatever a command sets, the next test waits no longer than this."""
    set_patience(60)
    yield
    set_patience(SCHEDULE_WAIT_S)
