"""P6: the scoring service under load with a change of champion in the middle, beside `mlflow models serve`."""

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
from _load import ask_for  # noqa: E402

FEATURES = 40
# MLflow starts uvicorn by name, so it must be on the path.
ENV = {
    **os.environ,
    "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    "OMP_NUM_THREADS": "1",
    "PYTHONPATH": str(ROOT),
    "MLFLOW_DISABLE_TELEMETRY": "true",
}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument(
        "--seconds", type=float, default=60, help="of steady load, and (a third each) of full load"
    )
    options.add_argument(
        "--per-s", type=float, default=600, help="requests a second of the steady load"
    )
    options.add_argument(
        "--registry-gone-s",
        type=float,
        help="only this: stop the registry's server for so long under the steady load",
    )
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if chosen.registry_gone_s:
            print(
                json.dumps(
                    without_registry(Path(folder), chosen.registry_gone_s, chosen.per_s), indent=1
                )
            )
        else:
            print(json.dumps(measure(Path(folder), chosen.seconds, chosen.per_s), indent=1))


def measure(folder: Path, seconds: float, per_s: float) -> dict[str, Any]:
    """One store with a champion and a version to follow it; both services in turn on the same bodies."""
    from flows.runtime.settings import quiet_vendors

    quiet_vendors()
    rows = a_frame(200)
    bundles = [a_bundle(folder / f"bundle{seed}", seed) for seed in (1, 2)]
    promoter = subprocess.Popen(
        [sys.executable, __file__, "--promote", str(folder), *map(str, bundles)],
        env=ENV,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        promoter.stdout.readline()  # type: ignore[union-attr]
        ours = [
            json.dumps(
                {"rows": [{"customer_id": row["customer_id"], "features": _features(row)}]}
            ).encode()
            for row in rows
        ]
        steady, most = keepline(folder, ours, seconds, per_s, promoter.stdin)
    finally:
        promoter.communicate()
    theirs = [
        json.dumps({"dataframe_records": [row | {"as_of": str(row["as_of"])}]}).encode()
        for row in rows
    ]
    peer = mlflow(folder, bundles[0], theirs, seconds / 3)
    return {
        "benchmark": "P6 service",
        "cores": os.cpu_count(),
        "features": FEATURES,
        "steady_with_a_swap": {"asked_per_s": per_s, **steady},
        "as_many_as_go": {
            "keepline": most,
            "mlflow models serve": peer,
            "ratio": round(most["requests_per_s"] / peer["requests_per_s"], 1),
        },
    }


def keepline(
    folder: Path, bodies: list[bytes], seconds: float, per_s: float, promoter: Any
) -> tuple[Any, Any]:
    """Steady load with a promotion in the middle, then full load, on `keepline serve`."""
    port = _free_port()
    env = {
        **ENV,
        "KEEPLINE_STORE": str(folder),
        "KEEPLINE_POLL_S": "1",
        "KEEPLINE_PORT": str(port),
        "KEEPLINE_RATE_PER_S": "100000",
    }
    with (folder / "keepline.log").open("w") as log:
        service = subprocess.Popen(
            [sys.executable, "-m", "flows.cli", "serve"], cwd=ROOT, env=env, stderr=log
        )
        try:
            _until_200(f"http://127.0.0.1:{port}/readyz", service, folder / "keepline.log")
            ask_for(
                2, port, bodies, "/v1/churn:score", per_s
            )  # what is slow once is not what is asked here
            promoter.write(f"{seconds / 2}\n")
            promoter.flush()
            steady = ask_for(seconds, port, bodies, "/v1/churn:score", per_s, look=_version)
            most = ask_for(seconds / 3, port, bodies, "/v1/churn:score", look=_version)
        finally:
            service.terminate()
            service.wait(60)
    return steady.figures(), most.figures()


def without_registry(folder: Path, seconds: float, per_s: float) -> dict[str, Any]:
    """The service on the registry of an MLflow server that is stopped for `seconds`, with load before and after."""
    promoter = subprocess.Popen(
        [
            sys.executable,
            __file__,
            "--promote",
            str(folder),
            *[str(a_bundle(folder / f"bundle{seed}", seed)) for seed in (1, 2)],
        ],
        env=ENV,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    promoter.stdout.readline()  # type: ignore[union-attr]
    bodies = [
        json.dumps(
            {"rows": [{"customer_id": row["customer_id"], "features": _features(row)}]}
        ).encode()
        for row in a_frame(200)
    ]
    ports = _free_port(), _free_port()
    ready = f"http://127.0.0.1:{ports[1]}/readyz"
    env = {
        **ENV,
        "KEEPLINE_STORE": str(folder),
        "KEEPLINE_POLL_S": "1",
        "KEEPLINE_PORT": str(ports[1]),
        "KEEPLINE_RATE_PER_S": "100000",
        "MLFLOW_TRACKING_URI": f"http://127.0.0.1:{ports[0]}",
    }
    told: list[tuple[float, Any]] = []  # seconds since the stop, what /readyz warned of

    def stop_and_start(server: subprocess.Popen[Any]) -> None:
        time.sleep(10)
        _end(server)
        stopped = time.monotonic()
        while time.monotonic() < stopped + seconds:
            time.sleep(5)
            with urllib.request.urlopen(ready, timeout=30) as reply:
                told.append((time.monotonic() - stopped, json.load(reply)["warnings"]))
        servers.append(_mlflow_server(folder, ports[0]))
        promoter.stdin.write("0\n")  # type: ignore[union-attr]
        promoter.stdin.flush()  # type: ignore[union-attr]

    servers = [_mlflow_server(folder, ports[0])]
    with (folder / "keepline.log").open("w") as log:
        service = subprocess.Popen(
            [sys.executable, "-m", "flows.cli", "serve"], cwd=ROOT, env=env, stderr=log
        )
        try:
            _until_200(ready, service, folder / "keepline.log")
            ask_for(2, ports[1], bodies, "/v1/churn:score", per_s)
            outage = threading.Thread(target=stop_and_start, args=servers)
            outage.start()
            found = ask_for(seconds + 50, ports[1], bodies, "/v1/churn:score", per_s, look=_version)
            outage.join()
        finally:
            promoter.kill()
            service.terminate()
            service.wait(60)
            for server in servers:
                _end(server)
    return {
        "benchmark": "P6 service without its registry",
        "gone_s": seconds,
        "asked_per_s": per_s,
        **found.figures(),
        "looks": len(told),
        "looks_that_warned": sum(bool(said) for _, said in told),
        "last_warning": told[-1][1],
        "back": "the promotion after it was taken up"
        if "v2" in found.seen
        else "the promotion after it was not seen",
    }


def _mlflow_server(folder: Path, port: int) -> subprocess.Popen[Any]:
    """MLflow's own server on the folder's database, ready."""
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


def mlflow(folder: Path, bundle: Path, bodies: list[bytes], seconds: float) -> Any:
    """Full load on `mlflow models serve` of the same weights."""
    import mlflow.pyfunc

    place = folder / "pyfunc"
    mlflow.pyfunc.save_model(
        str(place),
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
                str(place),
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
            ask_for(2, port, bodies, "/invocations")
            return ask_for(seconds, port, bodies, "/invocations").figures()
        finally:
            _end(service)


def a_frame(count: int) -> list[dict[str, Any]]:
    """Customers with as many features as the street makes, of fixed random values."""
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


def a_bundle(path: Path, seed: int) -> Path:
    """An untrained churn model of the usual size: how fast it answers does not depend on what it has learned."""
    import polars as pl
    import torch

    from data.features.features import describe
    from models.churn.model import ChurnConfig, ChurnModel, describe_columns
    from models.registry.bundle import write_bundle

    torch.manual_seed(seed)
    frame = pl.DataFrame(a_frame(500))
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
    """Makes `first` the champion and, told on stdin after how many seconds, `second`."""
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
    for place in (0, 1):
        record = a_decision(shas[place], shas[0] if place else None)
        if place:
            print("ready", flush=True)
            time.sleep(float(sys.stdin.readline()))
        registry.promote(
            "churn",
            versions[place],
            expected=versions[0] if place else None,
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
