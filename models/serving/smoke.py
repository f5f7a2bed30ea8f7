"""Smoke test: asks a bundle in the real service, inside this process, before it may be promoted."""

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
    """Serves the bundle, asks it `sample` twice and returns ok, latency_s, answer and error.

    `latency_s` is that of the second answer. `sample` is the JSON body of /v1/churn:score, a WAV
    (path or content), or contacts and turns to read. A bundle that does not verify or load, an
    answer other than 200, or one that makes no sense is not ok; `error` says which. Nothing is
    raised for those.
    """
    if kind == READER.name:  # read in batches, not over HTTP
        return _test_reader(bundle_dir, sample)
    from starlette.testclient import TestClient

    app = create_app(
        lambda requested: Served("candidate", bundle_dir) if requested == kind else None,
        kinds=(kind,),
    )
    app.state.models.refresh()
    client = TestClient(app, raise_server_exceptions=False)
    try:
        ready = client.get("/readyz")
        if ready.status_code != 200:
            return _failure(f"not ready: {app.state.models.details.get(kind)}")
        latency_s = 0.0
        for _ in range(2):  # the first answer also pays for warming up
            started = time.perf_counter()
            reply = _ask(client, kind, sample)
            latency_s = time.perf_counter() - started
            if reply.status_code != 200:
                return _failure(f"answered {reply.status_code}: {reply.json().get('error')}")
        answer = reply.json()
    finally:
        client.close()
    fault = _fault(kind, sample, answer)
    return (
        _failure(fault, answer)
        if fault
        else {"ok": True, "latency_s": latency_s, "answer": answer, "error": None}
    )


def _ask(client: Any, kind: str, sample: Mapping[str, Any] | bytes | Path) -> Any:
    if kind == CHURN.name:
        return client.post("/v1/churn:score", json=sample)
    content = sample.read_bytes() if isinstance(sample, Path) else sample
    return client.post("/v1/transcribe", files={"recording": ("sample.wav", content, "audio/wav")})


def _fault(kind: str, sample: Any, answer: dict[str, Any]) -> str | None:
    """Returns what makes no sense in the answer, or None."""
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


def _test_reader(bundle_dir: Path, sample: Any) -> dict[str, Any]:
    """Loads the bundle of a reader and reads the sample twice; the service has no route for it."""
    from models.reader.model import Reader, ReaderError
    from models.registry.bundle import BundleError, verify_bundle

    try:
        reader = Reader.load(verify_bundle(bundle_dir).path)
    except (BundleError, ReaderError) as error:
        return _failure(str(error))
    latency_s = 0.0
    for _ in range(2):
        started = time.perf_counter()
        labels, _ = reader.probabilities(sample["contacts"], sample["turns"])
        latency_s = time.perf_counter() - started
    wrong = [
        name for name, values in labels.items() if not (abs(values.sum(axis=1) - 1) < 1e-6).all()
    ]
    if wrong:
        return _failure(f"probabilities of {wrong[0]} do not add up to 1")
    return {"ok": True, "latency_s": latency_s, "answer": sorted(labels), "error": None}


def _failure(error: str | None, answer: Any = None) -> dict[str, Any]:
    return {"ok": False, "latency_s": None, "answer": answer, "error": error}
