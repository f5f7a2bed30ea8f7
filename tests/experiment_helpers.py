"""A clone of the checkout whose store is there already, so that experiments train churn alone."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from data.files import write_json, write_table
from data.versioning import keep_own_site_cache
from tests.churn_helpers import churn_table
from tests.flows.conftest import ROOT, environment

WITHOUT = ("tests/", "benchmarks/", "docs/")


@dataclass(frozen=True)
class Clone:
    """A git repository with the checkout's files."""

    folder: Path
    env: Mapping[str, str]

    def run(self, *words: str, cwd: Path | None = None, timeout_s: int = 300) -> str:
        """Runs `python -m words…` in it and returns what it printed; it has to succeed."""
        done = subprocess.run(
            [sys.executable, "-m", *words],
            cwd=cwd or self.folder,
            env=dict(self.env),
            capture_output=True,
            text=True,
            timeout=timeout_s,
        )
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        return done.stdout

    def dvc(self, *words: str, cwd: Path | None = None) -> str:
        """Runs `dvc words…` in it and returns what it printed."""
        return self.run("dvc", *words, cwd=cwd)

    def commit(self, message: str) -> None:
        """Commits everything that git does not ignore."""
        identity = ["-c", "user.name=tester", "-c", "user.email=tester@example.org"]
        for words in (["add", "-A"], [*identity, "commit", "-qm", message]):
            subprocess.run(["git", *words], cwd=self.folder, check=True, env=dict(self.env))

    def experiments(self) -> list[dict[str, Any]]:
        """Returns the experiments as `dvc exp show --json` has them, with their executor's state."""
        shown = json.loads(self.dvc("exp", "show", "--json"))
        return [each for state in shown for each in state.get("experiments") or []]

    def finish_queue(self, jobs: int = 1, timeout_s: float = 240.0) -> None:
        """Starts workers and waits until the queue is empty."""
        # The worker keeps this command's output open until it ends, so nobody reads it.
        subprocess.run(
            [sys.executable, "-m", "dvc", "queue", "start", "-j", str(jobs)],
            cwd=self.folder,
            env=dict(self.env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=120,
            check=True,
        )
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            time.sleep(2)
            status = self.dvc("queue", "status")
            if "Queued" not in status and "Running" not in status:
                return
        raise AssertionError(f"the queue did not end:\n{self.dvc('queue', 'status')}")


def clone(folder: Path, params: Mapping[str, Any] | None = None) -> Clone:
    """Returns a clone; `params` are merged into the sections of its params.yaml."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in listed.stdout.splitlines():
        if (ROOT / name).is_file() and not name.startswith(WITHOUT):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    if params:
        sections = yaml.safe_load((folder / "params.yaml").read_text())
        for name, values in params.items():
            sections[name] = (sections.get(name) or {}) | values
        (folder / "params.yaml").write_text(yaml.safe_dump(sections, sort_keys=False))
    params_file = str(folder / "params.yaml")
    made = Clone(folder, environment(folder / "data" / "store", KEEPLINE_PARAMS=params_file))
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True, env=dict(made.env))
    made.commit("clone")
    keep_own_site_cache(folder, folder.parent / "dvc-site")
    return made


def fill_store(clone: Clone, pipeline: str = "dvc.yaml", customers: int = 300) -> Path:
    """Makes every output of the pipeline, features real and the others empty; returns the store.

    DVC then takes all of it for done, as it does after a run.
    """
    declared = yaml.safe_load((clone.folder / pipeline).read_text())
    store: Path = clone.folder / declared["vars"][0]["store"]
    write_table(store / "features.parquet", churn_table(customers))
    write_json(store / "version.json", {"dvc_hash": "d" * 32, "rows": {"customers": customers}})
    for stage in declared["stages"].values():
        outs = [next(iter(out)) for out in [*stage.get("outs", []), *stage.get("metrics", [])]]
        needs = [need for need in stage["deps"] if need.startswith("${store}")]
        for place in (*needs, *outs):  # a need may lie in what a stage before it has made
            path = Path(place.replace("${store}", str(store)))
            if path.exists():
                continue
            if path.suffix:
                write_json(path, {})
            else:
                write_json(path / "made.json", {"by": stage["cmd"]})
    clone.dvc("commit", "-f", pipeline)
    clone.commit("a run")
    return store
