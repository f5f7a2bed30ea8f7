"""A street walked once, through the commands a user types; the tests of flows look at what it left."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SMALL = ROOT / "tests" / "small.yaml"


def environment(store: Path, **more: str) -> dict[str, str]:
    """The environment of a command that works in `store` and nowhere else."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("KEEPLINE_", "MLFLOW_", "PREFECT_"))
    }
    path = f"{Path(sys.executable).parent}{os.pathsep}{kept.get('PATH', '')}"
    return {
        **kept,
        "PATH": path,
        "KEEPLINE_STORE": str(store),
        "KEEPLINE_PARAMS": str(SMALL),
        "PREFECT_HOME": str(store / "prefect"),
        "KEEPLINE_ACTOR": "tester",
        **more,
    }


def keepline(
    store: Path, *words: str, timeout_s: int = 900, **more: str
) -> subprocess.CompletedProcess[str]:
    """Runs `keepline words…` and returns what it said."""
    return subprocess.run(
        [sys.executable, "-m", "flows.cli", *words],
        cwd=ROOT,
        env=environment(store, **more),
        capture_output=True,
        text=True,
        timeout=timeout_s,
    )


@pytest.fixture(scope="session")
def walked(tmp_path_factory) -> Path:
    """The store of one small walk of the street."""
    store = tmp_path_factory.mktemp("street") / "store"
    done = keepline(store, "demo")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    (store / "demo.txt").write_text(done.stdout)
    return store
