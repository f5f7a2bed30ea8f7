"""The recogniser's side of the street: scoring a test manifest, hearing calls."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from data.audio import read
from data.records import TURNS
from data.store import atomic
from flows.settings import ROOT

if TYPE_CHECKING:
    from evaluation.scorecard import Scorecard

Report = Callable[[int, int], None]
HEARD = {**TURNS, "confidence": pl.Float64}
AT_ONCE = 64  # utterances between two looks at the progress bar


def base_of(name: str, keep: Path) -> Path:
    """The `.nemo` that asr.base names: a file (relative to the checkout), or a hub model, brought once to `keep`."""
    local = ROOT / name
    if local.exists() or name.endswith(".nemo"):
        return local
    if not keep.exists():
        from models.asr import fetch

        with atomic(keep) as temporary:
            fetch(name).save_to(str(temporary))
    return keep


def rows_of(manifest: Path) -> list[dict[str, Any]]:
    """The lines of a NeMo manifest. Raises ValueError when there is none."""
    rows = [json.loads(line) for line in manifest.read_text(encoding="utf-8").splitlines() if line.strip()]
    if not rows:
        raise ValueError(
            f"{manifest}: no held-out speech to score on. Deliver more transcripts, or raise splits.test_share."
        )
    return rows


def score(
    manifest: Path, model: Path, name: str, bundle_sha256: str, seed: int, now: datetime, progress: Report
) -> Scorecard:
    """Transcribes the test manifest with the `.nemo` at `model` and scores it. Its data hash covers text and audio."""
    from evaluation.scorecard import asr_scorecard
    from models.asr import load

    rows = rows_of(manifest)
    content = hashlib.sha256()
    waves = []
    for row in rows:
        audio = manifest.parent / row["audio_filepath"]
        content.update(json.dumps(row, sort_keys=True).encode())
        content.update(audio.read_bytes())
        waves.append(read(audio)[0][:, 0])
    recognizer = load(model)
    began = time.monotonic()
    heard: list[str] = []
    for begin in range(0, len(waves), AT_ONCE):
        heard += [found.text for found in recognizer.transcribe(waves[begin : begin + AT_ONCE])]
        progress(len(heard), len(waves))
    seconds = time.monotonic() - began
    facts = {
        "parameters": recognizer.parameters,
        "size_bytes": model.stat().st_size,
        "times_real_time": sum(row["duration"] for row in rows) / seconds,
    }
    return asr_scorecard(name, content.hexdigest(), rows, heard, seed, now.isoformat(), bundle_sha256, facts)


def smoke_sample(manifest: Path) -> Path:
    """The longest test cut, for the service to transcribe before a release."""
    return manifest.parent / max(rows_of(manifest), key=lambda row: row["duration"])["audio_filepath"]


def hear_all(
    model: str | None, recordings: pl.DataFrame, decoded: Callable[[str], tuple[np.ndarray, int]], progress: Report
) -> pl.DataFrame:
    """Every recording as turns (schema TURNS with origin asr, and `confidence`), in order of contact and time."""
    from models.asr import load

    if model is None:
        raise ValueError("there is no recogniser to hear with. Set asr.base in params.yaml to a .nemo.")
    recognizer = load(model)
    rows: list[dict[str, Any]] = []
    calls = recordings.sort("contact_id").to_dicts()
    for done, call in enumerate(calls, start=1):
        samples, rate_hz = decoded(call["contact_id"])
        roles = {call["customer_channel"]: "customer", call["agent_channel"]: "agent"}
        for number, turn in enumerate(recognizer.transcribe_call(samples, rate_hz, roles)):
            rows.append({"contact_id": call["contact_id"], "turn": number, "role": turn.role, "text": turn.text,
                         "start_s": turn.start_s, "end_s": turn.end_s, "origin": "asr",
                         "confidence": turn.confidence})  # fmt: skip
        progress(done, len(calls))
    return pl.DataFrame(rows, schema=HEARD)
