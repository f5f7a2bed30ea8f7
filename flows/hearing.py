"""The recogniser's side of the street: scoring a test manifest, hearing calls."""

from __future__ import annotations

import hashlib
import json
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from data.audio import read, resample
from data.general import general_speech
from data.records import TURNS
from data.store import atomic
from data.telephone import effect, sounds_in
from evaluation.metrics.snr import estimated_snr_db
from evaluation.params import EvaluationParams
from flows.settings import ROOT

if TYPE_CHECKING:
    from evaluation.scorecard import Scorecard

Report = Callable[[int, int], None]
HEARD = {**TURNS, "confidence": pl.Float64}
SAMPLE_RATE_HZ = 16000  # what recognisers hear at
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


def lines_of(manifest: Path) -> list[dict[str, Any]]:
    """The lines of a NeMo manifest, none if it is not there."""
    if not manifest.is_file():
        return []
    return [json.loads(line) for line in manifest.read_text(encoding="utf-8").splitlines() if line.strip()]


def rows_of(manifest: Path) -> list[dict[str, Any]]:
    """The lines of a NeMo manifest. Raises ValueError when there is none."""
    rows = lines_of(manifest)
    if not rows:
        raise ValueError(
            f"{manifest}: no held-out speech to score on. Deliver more transcripts, or raise splits.test_share."
        )
    return rows


@dataclass(frozen=True)
class Exam:
    """Speech to be heard, with what was said: test rows and their samples (16 kHz mono float32 [frames])."""

    rows: list[dict[str, Any]]
    waves: list[np.ndarray]
    data_hash: str  # over text and audio

    @property
    def duration_s(self) -> float:
        """All of it."""
        return sum(len(wave) for wave in self.waves) / SAMPLE_RATE_HZ


def exams(manifest: Path, params: EvaluationParams) -> dict[str, Exam]:
    """What recognisers are examined in: `test` (all of the manifest), `conditions` and `guardrail`.

    Conditions are a sample of the test through each telephone effect, with the same seed for every model. A part that
    params leave empty is not there. Raises ValueError when the manifest or a guardrail is empty or cannot be read.
    """
    test = _exam(_decoded(manifest))
    found = {"test": test}
    sample = _shared_out(test, params.condition_s)
    sounds = sounds_in(params.noise_dir, params.music_dir, SAMPLE_RATE_HZ)
    treated = []
    for condition in params.conditions if sample else ():
        for number, (row, wave) in enumerate(sample):
            other = sample[number - 1][1]
            beside = replace(sounds, speech=((other, SAMPLE_RATE_HZ),) if other.any() else ())
            rng = np.random.default_rng([params.seed, number, zlib.crc32(condition.encode())])
            heard = effect(condition, beside)(wave, SAMPLE_RATE_HZ, rng)
            treated.append(({**row, "condition": condition}, heard))
    if treated:
        found["conditions"] = _exam(treated)
    if params.guardrail_s > 0:
        general: list[tuple[dict[str, Any], np.ndarray]] = []
        for name in params.guardrail:
            general += _decoded(ROOT / name)
        if not params.guardrail:
            general += general_speech(params.guardrail_s, params.seed, SAMPLE_RATE_HZ)
        found["guardrail"] = _exam(_shared_out(_exam(general), params.guardrail_s))
    return found


def examine(
    model: Path,
    parts: Mapping[str, Exam],
    name: str,
    bundle_sha256: str,
    params: EvaluationParams,
    now: datetime,
    progress: Report = lambda done, total: None,
) -> dict[str, Scorecard]:
    """The `.nemo` at `model` on every exam: a scorecard each. That of the test also holds the conditions' figures."""
    from evaluation.metrics.critical import classes_with
    from evaluation.metrics.english import variants_with
    from evaluation.scorecard import asr_scorecard
    from models.asr import load

    recognizer = load(model)
    classes, variants = classes_with(params.critical), variants_with(params.spellings)
    total = sum(len(exam.waves) for exam in parts.values())
    done, cards = 0, {}
    for part, exam in parts.items():
        began = time.monotonic()
        heard: list[str] = []
        for begin in range(0, len(exam.waves), AT_ONCE):
            heard += [found.text for found in recognizer.transcribe(exam.waves[begin : begin + AT_ONCE])]
            progress(done + len(heard), total)
        done += len(heard)
        facts = {
            "parameters": recognizer.parameters,
            "size_bytes": model.stat().st_size,
            "times_real_time": exam.duration_s / (time.monotonic() - began),
        }
        cards[part] = asr_scorecard(name, exam.data_hash, exam.rows, heard, params.seed, now.isoformat(),
                                    bundle_sha256, facts, classes, variants)  # fmt: skip
    if "conditions" in cards:
        cards["test"] = replace(cards["test"], conditions=cards["conditions"].slices["condition"])
    return cards


def _decoded(manifest: Path) -> list[tuple[dict[str, Any], np.ndarray]]:
    """The lines of a manifest with their audio; a folder stands for the manifest.jsonl in it."""
    manifest = manifest / "manifest.jsonl" if manifest.is_dir() else manifest
    found = []
    for row in rows_of(manifest):
        samples, rate_hz = read(manifest.parent / row["audio_filepath"])
        wave = resample(samples[:, 0], rate_hz, SAMPLE_RATE_HZ)
        known = {"voice": row.get("voice") or row.get("speaker"), "snr_db": estimated_snr_db(wave, SAMPLE_RATE_HZ)}
        found.append(({**row, **known}, wave))
    return found


def _exam(pairs: Sequence[tuple[Mapping[str, Any], np.ndarray]]) -> Exam:
    content = hashlib.sha256()
    for row, wave in pairs:
        content.update(json.dumps(row, sort_keys=True).encode())
        content.update(np.ascontiguousarray(wave).tobytes())
    return Exam([dict(row) for row, _ in pairs], [wave for _, wave in pairs], content.hexdigest())


def _shared_out(exam: Exam, seconds: float) -> list[tuple[dict[str, Any], np.ndarray]]:
    """Up to `seconds` of an exam, one utterance of each voice in turn, in the order they come."""
    by_voice: dict[str, list[int]] = {}
    for number, row in enumerate(exam.rows):
        by_voice.setdefault(str(row.get("voice") or row.get("contact_id")), []).append(number)
    turns = [number for batch in zip_longest(*by_voice.values()) for number in batch if number is not None]
    chosen: list[int] = []
    length_s = 0.0
    for number in turns:
        length_s += len(exam.waves[number]) / SAMPLE_RATE_HZ
        if chosen and length_s > seconds:
            break
        chosen.append(number)
    return [(exam.rows[number], exam.waves[number]) for number in chosen] if seconds > 0 else []


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
