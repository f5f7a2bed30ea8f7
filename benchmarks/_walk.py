"""Helpers of the benchmarks: the folder of real data, a timed command, the results of a run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent


def real_data_folder() -> Path:
    """Returns the folder of real recordings and tables, whether it exists or not."""
    return Path(os.environ.get("KEEPLINE_REAL_DATA") or ROOT.parent / "shared" / "data")


def require_real_data(benchmark: str, required: str) -> Path:
    """Returns the folder of real data; prints that `benchmark` is skipped and exits without it."""
    folder = real_data_folder()
    if not (folder / required).exists():
        print(
            json.dumps(
                {
                    "benchmark": benchmark,
                    "skipped": f"no {required} in {folder}; set KEEPLINE_REAL_DATA",
                }
            )
        )
        sys.exit()
    return folder


def time_command(store: Path, *words: str) -> float:
    """Returns the seconds of `keepline words…`; its output goes to stderr. Exits when it fails."""
    env = {**os.environ, "KEEPLINE_STORE": str(store), "PREFECT_HOME": str(store / "prefect")}
    started = time.monotonic()
    process = subprocess.run(
        [sys.executable, "-m", "flows.cli", *words], cwd=ROOT, env=env, stdout=sys.stderr
    )
    if process.returncode:
        sys.exit(process.returncode)
    return round(time.monotonic() - started, 1)


def read_results(store: Path) -> dict[str, Any]:
    """Returns held-out metrics with intervals and verdicts, as the stages wrote them."""

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
