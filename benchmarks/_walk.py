"""Shared by the benchmarks: where real data lies, one timed command in a store of its own, what the street found."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent


def real_folder() -> Path:
    """Where real recordings and tables lie, if there are any."""
    return Path(os.environ.get("KEEPLINE_REAL_DATA") or ROOT.parent / "shared" / "data")


def real_data(benchmark: str, needs: str) -> Path:
    """The folder of real recordings and tables, if it has `needs`; else says that `benchmark` is skipped, and exits."""
    folder = real_folder()
    if not (folder / needs).exists():
        print(
            json.dumps(
                {
                    "benchmark": benchmark,
                    "skipped": f"no {needs} in {folder}; set KEEPLINE_REAL_DATA",
                }
            )
        )
        sys.exit()
    return folder


def timed(store: Path, *words: str) -> float:
    """Seconds `keepline words…` took; its output goes to stderr. Exits when it fails."""
    env = {**os.environ, "KEEPLINE_STORE": str(store), "PREFECT_HOME": str(store / "prefect")}
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "flows.cli", *words], cwd=ROOT, env=env, stdout=sys.stderr
    )
    if done.returncode:
        sys.exit(done.returncode)
    return round(time.monotonic() - began, 1)


def found(store: Path) -> dict[str, Any]:
    """Held-out figures with intervals and verdicts, as the steps wrote them."""

    def read(name: str) -> Any:
        return json.loads((store / name).read_text())

    return {
        kind: {
            "metric": metric,
            "before": read(f"evaluate_{kind}.json")["reference"][metric],
            "after": read(f"evaluate_{kind}.json")["candidate"][metric],
            "verdict": read(f"decide_{kind}.json")["verdict"],
            "serving": read(f"release_{kind}.json")["champion"],
        }
        for kind, metric in (("asr", "wer"), ("churn", "brier"))
    }
