"""P6: the scoring service under load with a change of champion, against `mlflow models serve`."""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]
from _load import run_load  # noqa: E402

FEATURES = 40
SCORE = "/v1/churn:score"
# MLflow starts uvicorn by name, so it must be on the path.
ENV = {
    **os.environ,
    "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    "OMP_NUM_THREADS": "1",
    "PYTHONPATH": str(ROOT),
    "MLFLOW_DISABLE_TELEMETRY": "true",
}


def main() -> None:
    """Prints the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--seconds", type=float, default=60, help="of steady load, and (a third each) of full load"
    )
    parser.add_argument(
        "--per-s", type=float, default=600, help="requests a second of the steady load"
    )
    parser.add_argument(
        "--registry-gone-s",
        type=float,
        help="only this: stop the registry's server for so long under the steady load",
    )
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if arguments.registry_gone_s:
            print(
                json.dumps(
                    measure_without_registry(
                        Path(folder), arguments.registry_gone_s, arguments.per_s
                    ),
                    indent=1,
                )
            )
        else:
            print(json.dumps(measure(Path(folder), arguments.seconds, arguments.per_s), indent=1))


def measure(folder: Path, seconds: float, per_s: float) -> dict[str, Any]:
    """Measures both services in turn on the same rows: one store, a champion and its successor."""
    from flows.runtime.settings import quiet_vendors

    quiet_vendors()
    rows = make_rows(200)
    bundles = [make_bundle(folder / f"bundle{seed}", seed) for seed in (1, 2)]
    promoter = _start_promoter(folder, bundles)
    try:
        _wait_for_line(promoter)
        steady, full = measure_keepline(
            folder, _score_bodies(rows), seconds=seconds, per_s=per_s, promoter=promoter
        )
    finally:
        promoter.communicate()
    mlflow_bodies = [
        json.dumps({"dataframe_records": [row | {"as_of": str(row["as_of"])}]}).encode()
        for row in rows
    ]
    mlflow_load = measure_mlflow(folder, bundles[0], mlflow_bodies, seconds=seconds / 3)
    return {
        "benchmark": "P6 service",
        "cores": os.cpu_count(),
        "features": FEATURES,
        "steady_with_a_swap": {"asked_per_s": per_s, **steady},
        "as_many_as_go": {
            "keepline": full,
            "mlflow models serve": mlflow_load,
            "ratio": round(full["requests_per_s"] / mlflow_load["requests_per_s"], 1),
        },
    }


def measure_keepline(
    folder: Path,
    bodies: list[bytes],
    *,
    seconds: float,
    per_s: float,
    promoter: subprocess.Popen[str],
) -> tuple[Any, Any]:
    """Returns the figures of `keepline serve` under steady load with a promotion, and full load."""
    port = _free_port()
    env = _service_env(folder, port)
    with (folder / "keepline.log").open("w") as log:
        service = subprocess.Popen(
            [sys.executable, "-m", "flows.cli", "serve"], cwd=ROOT, env=env, stderr=log
        )
        try:
            _until_200(f"http://127.0.0.1:{port}/readyz", service, folder / "keepline.log")
            # A warm-up: what is slow once is not measured.
            run_load(2, port, bodies, path=SCORE, per_s=per_s)
            _tell(promoter, seconds / 2)
            steady = run_load(seconds, port, bodies, path=SCORE, per_s=per_s, classify=_version)
            full = run_load(seconds / 3, port, bodies, path=SCORE, classify=_version)
        finally:
            service.terminate()
            service.wait(60)
    return steady.figures(), full.figures()


class Outage(threading.Thread):
    """Stops the MLflow server for some seconds, records warnings of /readyz, and restarts it."""

    def __init__(
        self,
        folder: Path,
        port: int,
        *,
        seconds: float,
        ready: str,
        promoter: subprocess.Popen[str],
    ) -> None:
        super().__init__()
        self.warnings: list[tuple[float, Any]] = []  # seconds since the stop, warnings of /readyz
        self.server = _mlflow_server(folder, port)
        self._folder, self._port, self._seconds = folder, port, seconds
        self._ready, self._promoter = ready, promoter

    def run(self) -> None:
        time.sleep(10)
        _end(self.server)
        stopped = time.monotonic()
        while time.monotonic() < stopped + self._seconds:
            time.sleep(5)
            with urllib.request.urlopen(self._ready, timeout=30) as reply:
                self.warnings.append((time.monotonic() - stopped, json.load(reply)["warnings"]))
        self.server = _mlflow_server(self._folder, self._port)
        _tell(self._promoter, 0.0)


def measure_without_registry(folder: Path, seconds: float, per_s: float) -> dict[str, Any]:
    """Measures the service while its MLflow server is stopped for `seconds`, before and after."""
    bundles = [make_bundle(folder / f"bundle{seed}", seed) for seed in (1, 2)]
    promoter = _start_promoter(folder, bundles)
    _wait_for_line(promoter)
    bodies = _score_bodies(make_rows(200))
    registry_port, port = _free_port(), _free_port()
    ready = f"http://127.0.0.1:{port}/readyz"
    env = _service_env(folder, port) | {"MLFLOW_TRACKING_URI": f"http://127.0.0.1:{registry_port}"}
    outage = Outage(folder, registry_port, seconds=seconds, ready=ready, promoter=promoter)
    with (folder / "keepline.log").open("w") as log:
        service = subprocess.Popen(
            [sys.executable, "-m", "flows.cli", "serve"], cwd=ROOT, env=env, stderr=log
        )
        try:
            _until_200(ready, service, folder / "keepline.log")
            run_load(2, port, bodies, path=SCORE, per_s=per_s)
            outage.start()
            load = run_load(seconds + 50, port, bodies, path=SCORE, per_s=per_s, classify=_version)
            outage.join()
        finally:
            promoter.kill()
            service.terminate()
            service.wait(60)
            _end(outage.server)
    warnings = outage.warnings
    return {
        "benchmark": "P6 service without its registry",
        "gone_s": seconds,
        "asked_per_s": per_s,
        **load.figures(),
        "looks": len(warnings),
        "looks_that_warned": sum(bool(warning) for _, warning in warnings),
        "last_warning": warnings[-1][1],
        "back": "the promotion after it was taken up"
        if "v2" in load.seen
        else "the promotion after it was not seen",
    }


def _start_promoter(folder: Path, bundles: list[Path]) -> subprocess.Popen[str]:
    """Starts this script as the process that promotes the bundles one after the other."""
    return subprocess.Popen(
        [sys.executable, __file__, "--promote", str(folder), *map(str, bundles)],
        env=ENV,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def _wait_for_line(process: subprocess.Popen[str]) -> None:
    if process.stdout:
        process.stdout.readline()


def _tell(promoter: subprocess.Popen[str], seconds: float) -> None:
    """Lets the promoter promote the second bundle after `seconds`."""
    if promoter.stdin:
        promoter.stdin.write(f"{seconds}\n")
        promoter.stdin.flush()


def _score_bodies(rows: list[dict[str, Any]]) -> list[bytes]:
    """Returns a request body for each customer, as `keepline serve` takes them."""
    return [
        json.dumps(
            {"rows": [{"customer_id": row["customer_id"], "features": _features(row)}]}
        ).encode()
        for row in rows
    ]


def _service_env(folder: Path, port: int) -> dict[str, str]:
    return {
        **ENV,
        "KEEPLINE_STORE": str(folder),
        "KEEPLINE_POLL_S": "1",
        "KEEPLINE_PORT": str(port),
        "KEEPLINE_RATE_PER_S": "100000",
    }


def _mlflow_server(folder: Path, port: int) -> subprocess.Popen[Any]:
    """Starts MLflow's server on the folder's database and returns it when it is ready."""
    (folder / "keepline.log").touch()
    server = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "mlflow",
            "server",
            "--backend-store-uri",
            f"sqlite:///{folder}/mlflow.db",
            "--port",
            str(port),
            "--workers",
            "1",
        ],
        env={**ENV, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    _until_200(f"http://127.0.0.1:{port}/health", server, folder / "keepline.log")
    return server


def _end(server: subprocess.Popen[Any]) -> None:
    if server.poll() is None:
        os.killpg(server.pid, signal.SIGTERM)  # its workers too
        server.wait(60)


def measure_mlflow(folder: Path, bundle: Path, bodies: list[bytes], *, seconds: float) -> Any:
    """Returns the figures of `mlflow models serve` with the same weights under full load."""
    import mlflow.pyfunc

    pyfunc = folder / "pyfunc"
    mlflow.pyfunc.save_model(
        str(pyfunc),
        python_model=str(ROOT / "benchmarks" / "peers" / "mlflow_churn.py"),
        artifacts={"bundle": str(bundle)},
        pip_requirements=[],
    )
    port = _free_port()
    with (folder / "mlflow.log").open("w") as log:
        service = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "mlflow",
                "models",
                "serve",
                "-m",
                str(pyfunc),
                "--env-manager",
                "local",
                "--port",
                str(port),
            ],
            cwd=ROOT,
            env=ENV,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            _until_200(f"http://127.0.0.1:{port}/ping", service, folder / "mlflow.log")
            run_load(2, port, bodies, path="/invocations")
            return run_load(seconds, port, bodies, path="/invocations").figures()
        finally:
            _end(service)


def make_rows(count: int) -> list[dict[str, Any]]:
    """Returns customers with as many features as the pipeline makes, of fixed random values."""
    draw = random.Random(1)
    return [
        {
            "customer_id": f"C{number:06d}",
            "as_of": date(2026, 3, 1),
            "plan": draw.choice(["flex", "plus", "max"]),
            **{f"contacts_{days}d": float(draw.randint(0, 9)) for days in range(1, FEATURES)},
        }
        for number in range(count)
    ]


def make_bundle(path: Path, seed: int) -> Path:
    """Writes an untrained churn model of the usual size: speed does not depend on training."""
    import polars as pl
    import torch

    from data.features.features import describe
    from models.churn.model import ChurnConfig, ChurnModel, describe_columns
    from models.registry.bundle import write_bundle

    torch.manual_seed(seed)
    frame = pl.DataFrame(make_rows(500))
    names = [name for name in frame.columns if name not in ("customer_id", "as_of")]
    features = [describe(name, "categorical" if name == "plan" else "numeric") for name in names]
    columns = describe_columns(frame, features, bins=24)
    ChurnModel(ChurnConfig(columns, (30, 90, 180, 365), bias=(-2.0,) * 4)).save(path / "work")
    files = {name: path / "work" / name for name in ("weights.safetensors", "config.json")}
    write_bundle(
        path / "bundle",
        "churn",
        {**files, "card.md": "# Untrained\n"},
        data_hash="none",
        git_commit="none",
        created_at="2026-03-01",
        licence="none",
    )
    return path / "bundle"


def promote(folder: Path, first: Path, second: Path) -> None:
    """Makes `first` the champion and, after the seconds read from stdin, `second`."""
    from flows.runtime.settings import from_environment, quiet_vendors
    from models.registry.bundle import verify_bundle
    from models.registry.registry import Registry
    from tests.registry_helpers import a_decision

    quiet_vendors()
    settings = from_environment(store=folder)
    registry = Registry(settings.tracking_uri, folder / "registry")
    experiment = registry.client.create_experiment(
        "bench", artifact_location=(folder / "art").as_uri()
    )
    run = registry.client.create_run(experiment).info.run_id
    shas = [verify_bundle(path).sha256 for path in (first, second)]
    versions = [registry.register(path, "churn", run) for path in (first, second)]
    for number in (0, 1):
        record = a_decision(shas[number], shas[0] if number else None)
        if number:
            print("ready", flush=True)
            time.sleep(float(sys.stdin.readline()))
        registry.promote(
            "churn",
            versions[number],
            expected=versions[0] if number else None,
            decision=record,
            actor="bench",
            now=datetime.now(UTC),
        )


def _features(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in ("customer_id", "as_of")}


def _version(body: bytes) -> str:
    return f"v{json.loads(body)['model']['version']}"


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _until_200(url: str, service: subprocess.Popen[Any], log: Path) -> None:
    until = time.monotonic() + 180
    while time.monotonic() < until and service.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=5) as reply:
                if reply.status == 200:
                    return
        except OSError:
            pass
        time.sleep(0.5)
    sys.exit(f"{url}: not ready\n{log.read_text()[-1500:]}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--promote"]:
        promote(*map(Path, sys.argv[2:5]))
    else:
        main()
