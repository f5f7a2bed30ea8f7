"""S4: batch and HTTP answers agree; models change under load without a failed or a mixed answer."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import numpy as np
import polars as pl
import pytest
from starlette.testclient import TestClient

from flows.runtime.settings import ROOT
from flows.stages.churn import score_all
from models.churn.model import ChurnModel
from models.serving.app import Options, create_app
from models.serving.batching import Batcher
from models.serving.loaded import Served, from_registry
from tests.service_helpers import (
    ROW,
    Customers,
    ServiceFixture,
    a_churn_bundle,
    a_row,
    free_port,
    running,
    until,
)


def risks_of(model: ChurnModel, rows: list[dict[str, Any]]) -> list[list[float]]:
    frame = pl.DataFrame(
        {
            "customer_id": [row["customer_id"] for row in rows],
            "contacts_30d": pl.Series(
                [row["features"]["contacts_30d"] for row in rows], dtype=pl.Float64
            ),
            "plan": [row["features"]["plan"] for row in rows],
        }
    )
    return [list(row) for row in model.predict(frame).select("risk_30", "risk_90").rows()]


def test_S4_batch_scoring_and_the_service_give_the_same_numbers(tmp_path: Path) -> None:
    bundle = a_churn_bundle(tmp_path / "b")
    rows = [a_row(number) for number in range(300)]
    current = pl.DataFrame(
        {
            "customer_id": [row["customer_id"] for row in rows],
            "as_of": [date(2026, 3, 1)] * len(rows),
            "contacts_30d": pl.Series(
                [row["features"]["contacts_30d"] for row in rows], dtype=pl.Float64
            ),
            "plan": [row["features"]["plan"] for row in rows],
        }
    )
    current.write_parquet(tmp_path / "current.parquet")
    batch, _ = score_all(bundle.path, current)
    expected = {
        row["customer_id"]: (row["risk_30"], row["risk_90"]) for row in batch.iter_rows(named=True)
    }
    app = create_app(
        lambda kind: Served("1", bundle.path), ("churn",), features=tmp_path / "current.parquet"
    )
    app.state.models.refresh()
    client = TestClient(app)
    requests = [
        {"rows": rows},
        {"customer_ids": list(expected)},
        *({"rows": [row]} for row in rows[:20]),
    ]
    for body in requests:
        scores = client.post("/v1/churn:score", json=body).json()["scores"]
        assert scores
        for score in scores:
            given = (score["risks"]["risk_30"], score["risks"]["risk_90"])
            assert given == pytest.approx(expected[score["customer_id"]], abs=1e-6)


def test_S4_champions_change_under_load_and_every_answer_is_of_one_version(tmp_path: Path) -> None:
    fixture = ServiceFixture(tmp_path)
    bundles = dict([fixture.champion(bias=-1.0)])
    waiting = [fixture.candidate(bias=0.5), fixture.candidate(bias=2.0)]
    resolver = from_registry(fixture.registry, {"churn": "churn"}, tmp_path / "cache")
    with running(create_app(resolver, ("churn",), options=Options(poll_s=0.1))) as url:
        customers = Customers(url)
        until(lambda: len(customers.replies) > 20)
        for version, bundle in waiting:
            fixture.promote(version, bundle)
            bundles[version] = bundle
            until(lambda: customers.replies[-1][1]["model"]["version"] == str(version))  # noqa: B023
        before = len(customers.replies)
        until(lambda: len(customers.replies) > before + 20)
        replies = customers.stop()
    assert {status for status, _, _ in replies} == {200}
    models = {
        str(version): (ChurnModel.load(bundle.path), bundle.sha256)
        for version, bundle in bundles.items()
    }
    for _, body, rows in replies:
        model, sha256 = models[body["model"]["version"]]
        assert body["model"]["bundle_sha256"] == sha256
        given = [[score["risks"]["risk_30"], score["risks"]["risk_90"]] for score in body["scores"]]
        for answer, risks in zip(given, risks_of(model, rows), strict=True):
            assert answer == pytest.approx(risks, abs=1e-6)
    assert {body["model"]["version"] for _, body, _ in replies} == {"1", "2", "3"}
    assert {body["model"]["version"] for _, body, _ in replies[before:]} == {"3"}


def test_S4_requests_for_two_models_that_wait_together_are_each_answered_by_their_own() -> None:
    class Always:
        """A model that answers one number."""

        def __init__(self, risk: float) -> None:
            self.risk, self.config = (
                risk,
                SimpleNamespace(columns=[SimpleNamespace(name="contacts_30d")]),
            )

        def score_rows(self, customers: list[Any]) -> np.ndarray:
            return np.full((len(customers), 2), self.risk)

    models, batcher = [Always(0.25), Always(0.75)], Batcher()

    async def together() -> list[np.ndarray]:
        return await asyncio.gather(
            *(batcher.score(models[n % 2], [[1.0]] * (1 + n % 3)) for n in range(24))
        )

    for number, result in enumerate(asyncio.run(together())):
        assert result.shape == (1 + number % 3, 2)
        assert (result == models[number % 2].risk).all()
    batcher.close()


def test_S4_a_champion_that_cannot_be_loaded_leaves_the_last_good_one_answering(
    tmp_path: Path,
) -> None:
    fixture = ServiceFixture(tmp_path)
    fixture.champion()
    app = create_app(
        from_registry(fixture.registry, {"churn": "churn"}, tmp_path / "cache"), ("churn",)
    )
    app.state.models.refresh()
    client = TestClient(app)
    version, bundle = fixture.candidate(bias=1.0)
    fixture.promote(version, bundle)
    for stored in (tmp_path / "art").rglob("config.json"):
        if bundle.sha256[:16] in str(stored):
            stored.write_text(stored.read_text().replace("1.0", "9.0"))
    app.state.models.refresh()
    ready = client.get("/readyz")
    assert ready.status_code == 200
    assert ready.json()["warnings"]["churn"] == "champion v2 cannot be served; v1 answers"
    assert "config.json has changed" in client.get("/v1/models").json()["details"]["churn"]
    assert client.post("/v1/churn:score", json={"rows": [ROW]}).json()["model"]["version"] == "1"


def _registry_server(folder: Path, port: int) -> subprocess.Popen[bytes]:
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
        env={
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        },
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        until(lambda: _answers(f"http://127.0.0.1:{port}/health"), 300)
    except BaseException:
        _stop(server)
        raise
    return server


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5).status_code == 200
    except httpx.HTTPError:
        return False


def _stop(server: subprocess.Popen[bytes]) -> None:
    if server.poll() is None:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(60)


def test_S4_a_stopped_registry_costs_no_answer_and_stopping_the_service_cuts_none(
    tmp_path: Path,
) -> None:
    fixture = ServiceFixture(tmp_path)
    fixture.champion()
    waiting = fixture.candidate(bias=1.0)
    ports = free_port(), free_port()
    address = f"http://127.0.0.1:{ports[0]}"
    url = f"http://127.0.0.1:{ports[1]}"
    server = _registry_server(tmp_path, ports[0])
    environment = {
        **os.environ,
        "KEEPLINE_STORE": str(tmp_path),
        "MLFLOW_TRACKING_URI": address,
        "KEEPLINE_POLL_S": "0.2",
        "KEEPLINE_PORT": str(ports[1]),
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    }
    service = subprocess.Popen(
        [sys.executable, "-m", "flows.cli", "serve"],
        cwd=ROOT,
        stderr=(tmp_path / "service.log").open("w"),
        env=environment,
    )
    try:
        until(lambda: _answers(f"{url}/readyz"), 180)
        customers = Customers(url, threads=2)
        _stop(server)
        until(
            lambda: (
                "cannot be asked"
                in httpx.get(f"{url}/readyz", timeout=30).json()["warnings"].get("churn", "")
            )
        )
        begin = len(customers.replies)
        time.sleep(3)
        without = customers.replies[begin:]
        assert len(without) > 20, "answers went on while there was no registry"
        server = _registry_server(tmp_path, ports[0])
        fixture.promote(*waiting)
        until(lambda: customers.replies[-1][1]["model"]["version"] == "2", 120)
        before_stop = len(customers.replies)
        until(lambda: len(customers.replies) > before_stop)
        service.send_signal(signal.SIGTERM)
        assert service.wait(60) is not None
        replies = customers.stop()
        # Started again while there is no registry: the last champion answers, and says that it may
        # be an older one.
        _stop(server)
        with (tmp_path / "again.log").open("w") as log:
            service = subprocess.Popen(service.args, cwd=ROOT, stderr=log, env=environment)
        until(lambda: _answers(f"{url}/readyz"), 180)
        ready = httpx.get(f"{url}/readyz").json()
        assert ready["ready"]
        assert ready["warnings"]["churn"] == "the registry cannot be asked; v2 answers"
        assert (
            httpx.post(f"{url}/v1/churn:score", json={"rows": [ROW]}).json()["model"]["version"]
            == "2"
        )
        assert "the registry cannot be asked" in (tmp_path / "again.log").read_text()
    finally:
        service.kill()
        _stop(server)
    assert {status for status, _, _ in replies[:before_stop]} == {200}
    after = replies[before_stop:]
    assert {status for status, _, _ in after} <= {200, 0}
    refused = [body for status, body, _ in after if status == 0]
    assert refused, "somebody asked after it had stopped"
    # Who was not answered had not been let in: a connection refused or closed between two requests.
    assert not any("incomplete" in str(body) for body in refused)
    logged = (tmp_path / "service.log").read_text()
    assert "Traceback" not in logged.split("SIGTERM")[-1]
