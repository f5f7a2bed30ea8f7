"""Starts the HTTP service on the champions, and asks a running one a few questions."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from socket import socket
from typing import Any

import polars as pl
from rich.console import Console

from data.packs import read_member
from flows import judging
from flows.settings import ROOT
from flows.steps import Street

START_S = 180


def serve(host: str | None, port: int | None, store: Path | None) -> None:
    """Answers until interrupted. Customers can be asked for by id where features have been built."""
    from flows.wiring import street
    from models.serving.app import serve
    from models.serving.loaded import champions

    here = street(store)
    resolver = champions(judging.registry(here), {"asr": "asr", "churn": "churn"}, here.path("serving"))
    serve(host or here.settings.serve.host, port or here.settings.serve.port, resolver,
          features=here.path("current.parquet"))  # fmt: skip


def ask(console: Console, street: Street) -> dict[str, Any]:
    """Starts the real service on a free port, asks for a risk and a transcript, prints the answers, stops it.

    Raises RuntimeError with the end of the service's log when it does not get ready.
    """
    import httpx

    with socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = street.path("service.log")
    with log.open("wb") as output:
        service = subprocess.Popen(
            [sys.executable, "-m", "flows.cli", "serve", "--port", str(port), "--store", str(street.store)],
            cwd=ROOT, stdout=output, stderr=subprocess.STDOUT,
        )  # fmt: skip
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            with console.status("starting the service …"):
                ready = _wait(client, service, log)
            answers = {"readyz": ready, **_questions(client, street, set(ready["models"]))}
    finally:
        service.terminate()
        service.wait(20)
    for kind, why in ready["problems"].items():
        console.print(f"  not serving {kind}: {why}")
    for version in ready["models"].values():
        console.print(f"  serving {version['kind']} v{version['version']} ({version['bundle_sha256'][:12]})")
    for score in answers.get("score", {}).get("scores", []):
        risks = ", ".join(f"{name.replace('_', ' ')} d {risk:.0%}" for name, risk in score["risks"].items())
        console.print(f"  {score['customer_id']}: {risks}", highlight=False)
    for turn in answers.get("transcribe", {}).get("turns", [])[:4]:
        console.print(f"  {turn['start_s']:5.1f} s {turn['role']}: {turn['text']}", highlight=False)
    return answers


def _wait(client: Any, service: subprocess.Popen[bytes], log: Path) -> dict[str, Any]:
    import httpx

    deadline = time.monotonic() + START_S
    said = ""
    while time.monotonic() < deadline and service.poll() is None:
        try:
            reply = client.get("/readyz")
            if reply.status_code == 200:
                return dict(reply.json())
            said = reply.text
        except httpx.TransportError:
            pass
        time.sleep(0.5)
    tail = log.read_text(encoding="utf-8", errors="replace")[-800:]
    raise RuntimeError(f"the service did not get ready. {said}\n{tail}")


def _questions(client: Any, street: Street, kinds: set[str]) -> dict[str, Any]:
    """What the champions there are answer: a kind whose first candidate was refused has none."""
    riskiest = pl.read_parquet(street.path("scores.parquet"))["customer_id"].head(2).to_list()
    recording = pl.read_parquet(street.path("clean/recordings.parquet")).sort("duration_s").row(0, named=True)
    content = read_member(street.path("shards"), recording["shard"], recording["member"])
    replies = {}
    if "churn" in kinds:
        replies["score"] = client.post("/v1/churn:score", json={"customer_ids": riskiest})
    if "asr" in kinds:
        replies["transcribe"] = client.post("/v1/transcribe", files={"recording": ("call.wav", content, "audio/wav")})
    for name, reply in replies.items():
        if reply.status_code != 200:
            raise RuntimeError(f"the service answered {name} with {reply.status_code}: {reply.text[:300]}")
    return {name: reply.json() for name, reply in replies.items()}
