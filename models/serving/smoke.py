"""Tries a bundle in the real service, inside this process, before anybody may call it champion."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from models.kinds import ASR, CHURN, READER
from models.serving.app import create_app
from models.serving.loaded import Served


def smoke_test(
    bundle_dir: Path, kind: str, sample: Mapping[str, Any] | bytes | Path
) -> dict[str, Any]:
    """Serves the bundle, asks it `sample` twice and returns ok, latency_s (the second answer's), answer and error.

    `sample` is the JSON body of /v1/churn:score, a WAV (path or content), or contacts and turns to read. A bundle
    that does not verify or load, an answer other than 200, or one that makes no sense is not ok; `error` says which.
    Nothing is raised for those.
    """
    if kind == READER.name:  # read in batches, not over HTTP
        return _reads(bundle_dir, sample)
    from starlette.testclient import TestClient

    app = create_app(
        lambda wanted: Served("candidate", bundle_dir) if wanted == kind else None, kinds=(kind,)
    )
    app.state.models.refresh()
    client = TestClient(app, raise_server_exceptions=False)
    try:
        ready = client.get("/readyz")
        if ready.status_code != 200:
            return _no(f"not ready: {app.state.models.details.get(kind)}")
        latency_s = 0.0
        for _ in range(2):  # the first answer also pays for warming up
            started = time.perf_counter()
            reply = _ask(client, kind, sample)
            latency_s = time.perf_counter() - started
            if reply.status_code != 200:
                return _no(f"answered {reply.status_code}: {reply.json().get('error')}")
        answer = reply.json()
    finally:
        client.close()
    wrong = _nonsense(kind, sample, answer)
    return (
        _no(wrong, answer)
        if wrong
        else {"ok": True, "latency_s": latency_s, "answer": answer, "error": None}
    )


def _ask(client: Any, kind: str, sample: Mapping[str, Any] | bytes | Path) -> Any:
    if kind == CHURN.name:
        return client.post("/v1/churn:score", json=sample)
    content = sample.read_bytes() if isinstance(sample, Path) else sample
    return client.post("/v1/transcribe", files={"recording": ("sample.wav", content, "audio/wav")})


def _nonsense(kind: str, sample: Any, answer: dict[str, Any]) -> str | None:
    if kind == ASR.name:
        bad = [
            turn
            for turn in answer["turns"]
            if not 0 <= turn["start_s"] <= turn["end_s"] <= answer["duration_s"] + 1
        ]
        return f"a turn lies outside the recording: {bad[0]}" if bad else None
    if len(answer["scores"]) != len(sample.get("rows") or sample.get("customer_ids")):
        return f"{len(answer['scores'])} scores for the sample"
    for score in answer["scores"]:
        risks = list(score["risks"].values())
        if not risks or risks != sorted(risks):
            return f"customer {score['customer_id']}: risks {risks} fall with time"
    return None


def _reads(bundle_dir: Path, sample: Any) -> dict[str, Any]:
    """A reader has no place in the service yet: loads the bundle as `keepline read` does and reads the sample twice."""
    from models.reader.model import Reader, ReaderError
    from models.registry.bundle import BundleError, verify_bundle

    try:
        reader = Reader.load(verify_bundle(bundle_dir).path)
    except (BundleError, ReaderError) as error:
        return _no(str(error))
    latency_s = 0.0
    for _ in range(2):
        started = time.perf_counter()
        found, _ = reader.probabilities(sample["contacts"], sample["turns"])
        latency_s = time.perf_counter() - started
    wrong = [
        name for name, chances in found.items() if not (abs(chances.sum(axis=1) - 1) < 1e-6).all()
    ]
    if wrong:
        return _no(f"probabilities of {wrong[0]} do not add up to 1")
    return {"ok": True, "latency_s": latency_s, "answer": sorted(found), "error": None}


def _no(error: str | None, answer: Any = None) -> dict[str, Any]:
    return {"ok": False, "latency_s": None, "answer": answer, "error": error}
