"""One small run of the pipeline, by the commands a user types, for the tests of flows."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

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
    """Runs `keepline words…` and returns the finished process."""
    return subprocess.run(
        [sys.executable, "-m", "flows.cli", *words],
        cwd=ROOT,
        env=environment(store, **more),
        capture_output=True,
        text=True,
        timeout=timeout_s,
    )
