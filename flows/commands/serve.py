"""The command `keepline serve`, and a demonstration that asks a running service."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from socket import socket
from typing import Any

import polars as pl
from rich.console import Console

from data import artefacts
from data.speech.shards import read_member
from flows.runtime.context import RunContext
from flows.runtime.settings import ROOT, SettingsError, from_environment
from models.kinds import ASR, CHURN, kinds

START_S = 180
LOOPBACK = ("127.0.0.1", "::1", "localhost")


def serve(host: str | None, port: int | None, store: Path | None) -> None:
    """Serves the champions over HTTP until stopped.

    Customers can be asked for by id where features have been built. Raises SettingsError for an
    address others can reach while no keys are configured.
    """
    from flows.runtime.context import load_context
    from models.registry.registry import CHALLENGER, CHAMPION, STOPPED
    from models.serving import app as service
    from models.serving.access import Access
    from models.serving.loaded import from_registry
    from models.serving.rollout import Rollout

    context = load_context(store)
    settings = context.settings.serve
    host = host or settings.host
    if settings.api_keys is None and host not in LOOPBACK:
        raise SettingsError(
            f"{host} can be reached by others, and nobody needs a key. Make one with `keepline "
            "key NAME ROLE` and set "
            "KEEPLINE_API_KEYS, or listen on 127.0.0.1."
        )
    registry = context.registry()
    champions, challengers = (
        from_registry(
            registry,
            {kind.name: kind.name for kind in kinds() if kind.served},
            context.path(artefacts.SERVING),
            alias=alias,
        )
        for alias in (CHAMPION, CHALLENGER)
    )
    options = service.Options(
        max_body_bytes=round(settings.max_body_mb * 2**20),
        max_audio_s=settings.max_audio_s,
        rate_per_s=settings.rate_per_s,
        poll_s=settings.poll_s,
        rollout=Rollout(settings.rollout, settings.canary_share),  # type: ignore[arg-type]
        public_key=context.settings.public_key,
        exports=context.path(artefacts.EXPORTS),
    )
    access = Access(settings.api_keys) if settings.api_keys else None
    app = service.create_app(
        champions,
        service.KINDS,
        features=context.path(artefacts.CURRENT),
        options=options,
        challengers=challengers,
        access=access,
        memory=context.path(artefacts.SERVING),
        stopped=lambda kind, version, why: registry.annotate(kind, int(version), {STOPPED: why}),
    )
    service.serve(app, host, settings.port if port is None else port, drain_s=settings.drain_s)


def key(console: Console, name: str, roles: list[str]) -> None:
    """Makes an API key, stores its hash in the file of KEEPLINE_API_KEYS and prints it once."""
    from models.serving.access import add_key

    path = from_environment().serve.api_keys
    if path is None:
        raise SettingsError(
            "KEEPLINE_API_KEYS names no file to keep keys in. Set it, in the environment or in "
            ".env."
        )
    console.print(add_key(path, name, roles), highlight=False, soft_wrap=True)
    console.print(
        f"{name}: {', '.join(roles)}. Only its hash is kept, in {path}; this is the one time it "
        "is shown.",
        style="dim",
        highlight=False,
        soft_wrap=True,
    )


def ask(console: Console, context: RunContext) -> dict[str, Any]:
    """Starts the service on a free port, prints its answers and returns them.

    It asks for a risk and a transcript. Raises RuntimeError with the end of the service's log when
    it does not get ready.
    """
    import httpx

    with socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = context.path(artefacts.SERVICE_LOG)
    with log.open("wb") as output:
        service = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "flows.cli",
                "serve",
                "--port",
                str(port),
                "--store",
                str(context.store),
            ],
            cwd=ROOT,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            with console.status("starting the service …"):
                ready = _wait(client, service, log)
            answers = {"readyz": ready, **_questions(client, context, set(ready["models"]))}
    finally:
        service.terminate()
        service.wait(20)
    for kind, why in ready["problems"].items():
        console.print(f"  not serving {kind}: {why}")
    for version in ready["models"].values():
        console.print(
            f"  serving {version['kind']} v{version['version']} ({version['bundle_sha256'][:12]})"
        )
    for score in answers.get("score", {}).get("scores", []):
        risks = ", ".join(
            f"{name.replace('_', ' ')} d {risk:.0%}" for name, risk in score["risks"].items()
        )
        console.print(f"  {score['customer_id']}: {risks}", highlight=False)
    for turn in answers.get("transcribe", {}).get("turns", [])[:4]:
        console.print(f"  {turn['start_s']:5.1f} s {turn['role']}: {turn['text']}", highlight=False)
    return answers


def _wait(client: Any, service: subprocess.Popen[bytes], log: Path) -> dict[str, Any]:
    import httpx

    deadline = time.monotonic() + START_S
    settings = ""
    while time.monotonic() < deadline and service.poll() is None:
        try:
            reply = client.get("/readyz")
            if reply.status_code == 200:
                return dict(reply.json())
            settings = reply.text
        except httpx.TransportError:
            pass
        time.sleep(0.5)
    tail = log.read_text(encoding="utf-8", errors="replace")[-800:]
    raise RuntimeError(f"the service did not get ready. {settings}\n{tail}")


def _questions(client: Any, context: RunContext, kinds: set[str]) -> dict[str, Any]:
    """Returns the answers of the champions there are.

    A kind whose first candidate was refused has none and is not asked.
    """
    riskiest = pl.read_parquet(context.path(artefacts.SCORES))["customer_id"].head(2).to_list()
    recording = (
        pl.read_parquet(context.path(artefacts.CLEAN.within("recordings.parquet")))
        .sort("duration_s")
        .row(0, named=True)
    )
    content = read_member(context.path(artefacts.SHARDS), recording["shard"], recording["member"])
    replies = {}
    if CHURN.name in kinds:
        replies["score"] = client.post("/v1/churn:score", json={"customer_ids": riskiest})
    if ASR.name in kinds:
        replies["transcribe"] = client.post(
            "/v1/transcribe", files={"recording": ("call.wav", content, "audio/wav")}
        )
    for name, reply in replies.items():
        if reply.status_code != 200:
            raise RuntimeError(
                f"the service answered {name} with {reply.status_code}: {reply.text[:300]}"
            )
    return {name: reply.json() for name, reply in replies.items()}
