"""K3: how long `keepline runs` takes to list and filter 1,000 runs, Python's start included, beside MLflow's client."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RUNS = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
MAKE = """
import sqlite3, sys
from mlflow.entities import Metric, Param, RunTag
from mlflow.tracking import MlflowClient

client = MlflowClient(sys.argv[1])
run = client.create_run(client.create_experiment("keepline-asr"), run_name="asr").info.run_id
client.log_batch(run, [Metric(f"test_{k}", 0.5, 0, 0) for k in ("wer", *range(40))],
                 [Param(f"asr.p{k}", str(k)) for k in range(30)], [RunTag("kind", "asr")])
client.set_terminated(run)
# One run as MLflow writes it, and copies of its rows: logging a thousand through the client takes minutes.
base = sqlite3.connect(sys.argv[1].removeprefix("sqlite:///"))
for table in ("runs", "latest_metrics", "params", "tags"):
    names = [row[1] for row in base.execute(f"PRAGMA table_info({table})")]
    for n in range(1, int(sys.argv[2])):
        taken = ", ".join(
            f"'{n:032d}'" if name == "run_uuid"
            else f"CASE key WHEN 'test_wer' THEN {n / 1000} ELSE value END" if (table + name) == "latest_metricsvalue"
            else f'"{name}"'
            for name in names
        )
        base.execute(f"INSERT INTO {table} SELECT {taken} FROM {table} WHERE run_uuid = ?", [run])
base.commit()
"""
ASK = """
import sys
from training.tracking import list_runs

print(len([run for run in list_runs(sys.argv[1], limit=50000) if run["metrics"]["test_wer"] < 0.5]))
"""


def time_process(*words: str, env: dict[str, str]) -> tuple[float, float]:
    """Wall and CPU seconds of one process, its output thrown away."""
    began, cpu = time.monotonic(), os.times()
    subprocess.run(
        [sys.executable, *words], cwd=ROOT, env=env, check=True, stdout=subprocess.DEVNULL
    )
    after = os.times()
    cpu_s = after.children_user + after.children_system - cpu.children_user - cpu.children_system
    return round(time.monotonic() - began, 2), round(cpu_s, 2)


with tempfile.TemporaryDirectory() as folder:
    uri = f"sqlite:///{folder}/mlflow.db"
    env = {
        **os.environ,
        "KEEPLINE_STORE": folder,
        "PYTHONPATH": str(ROOT),
        "MLFLOW_TRACKING_URI": uri,
    }
    subprocess.run(
        [sys.executable, "-c", MAKE, uri, str(RUNS)],
        cwd=ROOT,
        env=env,
        check=True,
        stderr=subprocess.DEVNULL,
    )
    keepline = ("-m", "flows.cli", "runs", "--limit", "50")
    results = {}
    for name, words in {
        "list": keepline,
        "filter": (
            *keepline,
            "--where",
            "test_wer<0.5",
            "--where",
            "kind=asr",
            "--sort",
            "test_wer",
        ),
        "mlflow_client": ("-c", ASK, uri),
    }.items():
        best = min(time_process(*words, env=env) for _ in range(3))
        results[name] = {"wall_s": best[0], "cpu_s": best[1]}
    print(
        json.dumps(
            {
                "benchmark": "K3 runs",
                "runs": RUNS,
                "to_reach_s": 2,
                **results,
                "load_1m": round(os.getloadavg()[0], 1),
            },
            indent=1,
        )
    )
