"""What the tests of the service share: small real churn bundles, a registry that promotes them, a
real server."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import polars as pl
import uvicorn

from data.features.features import Feature
from models.churn.model import ChurnConfig, ChurnModel, describe_columns
from models.registry.bundle import Bundle, write_bundle
from models.registry.learned import Learned
from tests.registry_helpers import NOW, RegistryFixture, a_decision

FEATURES = [
    Feature("contacts_30d", "contacts", "volume"),
    Feature("plan", "plan", "plan", value_type="categorical"),
]
ROW = {"customer_id": "C1", "as_of": "2026-03-01", "features": {"contacts_30d": 3, "plan": "basic"}}


def a_row(number: int) -> dict[str, Any]:
    """The row of one customer, unlike most others'."""
    plan = ["basic", "gold", None, "never seen"][number % 4]
    return {
        "customer_id": f"C{number}",
        "features": {"contacts_30d": number % 11 or None, "plan": plan},
    }


def a_churn_bundle(path: Path, bias: float = 0.0, extra: str | None = None) -> Bundle:
    """A real, untrained churn network on two features, or three with the name of an `extra` one."""
    frame = pl.DataFrame(
        {"contacts_30d": [0.0, 1.0, 5.0, 9.0], "plan": ["basic", "gold", "basic", None]}
    )
    features = list(FEATURES)
    if extra:
        frame = frame.with_columns(pl.Series(extra, [0.0, 1.0, 2.0, 3.0]))
        features.append(Feature(extra, extra, "volume"))
    columns = describe_columns(frame, features, bins=4)
    config = ChurnConfig(columns, (30, 90), hidden=8, layers=1, members=2, bias=(bias, bias))
    ChurnModel(config).save(path.parent / f"work-{path.name}")
    files = {
        name: path.parent / f"work-{path.name}" / name
        for name in ("weights.safetensors", "config.json")
    }
    return write_bundle(
        path,
        "churn",
        {**files, "card.md": "# Tiny", "learned.json": Learned.of().to_json()},
        data_hash="d1",
        git_commit="c",
        created_at="2026",
        licence="MIT",
    )


class ServiceFixture(RegistryFixture):
    """A registry whose champions are real churn models."""

    def candidate(self, bias: float = 0.0, extra: str | None = None) -> tuple[int, Bundle]:
        """Registers a new model; its version and bundle."""
        folder = self.folder / "made"
        folder.mkdir(exist_ok=True)
        bundle = a_churn_bundle(folder / f"b{len(list(folder.glob('b*')))}", bias, extra)
        return self.registry.register(bundle.path, "churn", self.run_id), bundle

    def promote(self, version: int, bundle: Bundle) -> None:
        """Makes it the champion by an accepted decision."""
        entries = self.registry.ledger("churn")
        last = entries[-1] if entries else None
        decision = a_decision(bundle.sha256, last.bundle_sha256 if last else None)
        self.registry.promote(
            "churn",
            version,
            expected=last.version if last else None,
            decision=decision,
            actor="anna",
            now=NOW,
        )

    def champion(self, bias: float = 0.0) -> tuple[int, Bundle]:
        """Registers and promotes."""
        version, bundle = self.candidate(bias)
        self.promote(version, bundle)
        return version, bundle

    def challenger(self, bias: float = 0.0, extra: str | None = None) -> tuple[int, Bundle]:
        """Registers a model and makes it the challenger by an accepted decision."""
        version, bundle = self.candidate(bias, extra)
        entries = [entry for entry in self.registry.ledger("churn") if entry.action == "promote"]
        self.registry.challenge(
            "churn",
            version,
            decision=a_decision(bundle.sha256, entries[-1].bundle_sha256),
            actor="anna",
            now=NOW,
        )
        return version, bundle


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def until(condition: Callable[[], bool], seconds: float = 60) -> None:
    """Waits until the condition holds. Fails after so many seconds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"the condition did not hold within {seconds} s"
        time.sleep(0.02)


def figure(client: Any, name: str, **labels: str) -> float:
    """The value of a metric on the service's page; 0 where there is none."""
    for line in client.get("/metrics").text.splitlines():
        if line.startswith(name) and all(
            f'{key}="{value}"' in line for key, value in labels.items()
        ):
            return float(line.split()[-1])
    return 0.0


@contextlib.contextmanager
def running(app: Any) -> Iterator[str]:
    """The app on a real server in this process, ready; gives its address and stops it in the end."""
    port = free_port()
    server = uvicorn.Server(
        uvicorn.Config(app, host="127.0.0.1", port=port, log_level="error", log_config=None)
    )
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    url = f"http://127.0.0.1:{port}"
    try:
        until(lambda: server.started)
        until(lambda: httpx.get(f"{url}/readyz").status_code == 200)
        yield url
    finally:
        server.should_exit = True
        thread.join(20)


class Customers:
    """Threads that ask without pause until `stop`; every reply is kept as (status, body, rows
    asked).
    """

    def __init__(self, url: str, threads: int = 3) -> None:
        self.replies: list[tuple[int, Any, list[dict[str, Any]]]] = []
        self._ending = threading.Event()
        self._threads = [
            threading.Thread(target=self._ask, args=(url, n), daemon=True) for n in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    def _ask(self, url: str, first: int) -> None:
        number = first * 1000
        with httpx.Client(base_url=url, timeout=30) as client:
            while not self._ending.is_set():
                rows = [a_row(number + n) for n in range(3)]
                number += 3
                try:
                    reply = client.post("/v1/churn:score", json={"rows": rows})
                    self.replies.append((reply.status_code, reply.json(), rows))
                except httpx.HTTPError as error:
                    self.replies.append((0, repr(error), rows))

    def stop(self) -> list[tuple[int, Any, list[dict[str, Any]]]]:
        self._ending.set()
        for thread in self._threads:
            thread.join(60)
        return self.replies
