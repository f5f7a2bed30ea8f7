"""Held-out speech, clean, through telephone effects and in general, and its scoring."""

from __future__ import annotations

import hashlib
import json
import time
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from data.audio import SAMPLE_RATE_HZ, read, resample
from data.progress import Progress
from data.simulator.general_speech import general_speech
from data.speech.manifests import read_manifest, require_manifest
from data.speech.telephone import effect, load_background_sounds
from evaluation.metrics.snr import estimated_snr_db
from evaluation.metrics.word_correctness import word_correctness
from evaluation.params import EvaluationParams

if TYPE_CHECKING:
    from evaluation.scorecard import Scorecard
    from models.asr.confidence import Calibration
    from models.asr.transcript import Transcript


Pair = tuple[dict[str, Any], np.ndarray]  # a line of a manifest, and its samples


BATCH = 64  # utterances between two looks at the progress bar


@dataclass(frozen=True)
class TestSet:
    """Speech to be heard, with what was said: test rows and their samples (16 kHz mono float32 [frames])."""

    rows: list[dict[str, Any]]
    waves: list[np.ndarray]
    data_hash: str  # over text and audio

    @property
    def duration_s(self) -> float:
        """All of it."""
        return sum(len(wave) for wave in self.waves) / SAMPLE_RATE_HZ


def load_test_sets(
    manifest: Path, params: EvaluationParams, root: Path = Path()
) -> dict[str, TestSet]:
    """What recognisers are examined in: `test` (all of the manifest), `conditions` and `guardrail`.

    `root` is the folder that relative paths in `params.guardrail` start from.
    Conditions are a sample of the test through each telephone effect, with the same seed for every model. A part that
    params leave empty is not there. Raises ValueError when the manifest or a guardrail is empty or cannot be read.
    """
    require_manifest(manifest)  # raises when there is nothing to score on
    whole = _decoded(manifest)
    found = {"test": _test_set(whole)}
    sample = sample_by_voice(whole, params.condition_s)
    sounds = load_background_sounds(params.noise_dir, params.music_dir, SAMPLE_RATE_HZ)
    treated = []
    for condition in params.conditions if sample else ():
        for number, (row, wave) in enumerate(sample):
            other = sample[number - 1][1]
            beside = replace(sounds, speech=((other, SAMPLE_RATE_HZ),) if other.any() else ())
            rng = np.random.default_rng([params.seed, number, zlib.crc32(condition.encode())])
            heard = effect(condition, beside)(wave, SAMPLE_RATE_HZ, rng)
            treated.append(({**row, "condition": condition}, heard))
    if treated:
        found["conditions"] = _test_set(treated)
    if params.guardrail_s > 0:
        general: list[Pair] = []
        for name in params.guardrail:
            found_there = _decoded(root / name)
            if not found_there:
                raise ValueError(
                    f"{root / name}: no general speech in it. Name a manifest in evaluation.guardrail."
                )
            general += found_there
        if not params.guardrail:
            general += general_speech(params.guardrail_s, params.seed, SAMPLE_RATE_HZ)
        found["guardrail"] = _test_set(sample_by_voice(general, params.guardrail_s))
    return found


def evaluate(
    model: Path,
    parts: Mapping[str, TestSet],
    name: str,
    bundle_sha256: str,
    params: EvaluationParams,
    now: datetime,
    progress: Progress = lambda done, total: None,
) -> dict[str, Scorecard]:
    """The `.nemo` at `model` on every exam: a scorecard each. That of the test also holds the conditions' figures."""
    from evaluation.asr.scorecard import asr_scorecard
    from evaluation.metrics.critical import classes_with
    from evaluation.metrics.english import variants_with
    from models.asr.load import load

    recognizer = load(model)
    calibration, recognizer.calibration = (
        recognizer.calibration,
        None,
    )  # to measure both with and without
    classes, variants = classes_with(params.critical), variants_with(params.spellings)
    total = sum(len(exam.waves) for exam in parts.values())
    done, cards = 0, {}
    for part, exam in parts.items():
        began = time.monotonic()
        heard: list[Transcript] = []
        for begin in range(0, len(exam.waves), BATCH):
            heard += recognizer.transcribe(exam.waves[begin : begin + BATCH])
            progress(done + len(heard), total)
        done += len(heard)
        facts = {
            "parameters": recognizer.parameters,
            "size_bytes": model.stat().st_size,
            "times_real_time": exam.duration_s / (time.monotonic() - began),
            "confidence": confidence_ece(calibration, exam, heard),
        }
        texts = [found.text for found in heard]
        cards[part] = asr_scorecard(
            name,
            exam.data_hash,
            exam.rows,
            texts,
            params.seed,
            now.isoformat(),
            bundle_sha256,
            facts,
            classes,
            variants,
        )
    if "conditions" in cards:
        cards["test"] = replace(cards["test"], conditions=cards["conditions"].slices["condition"])
    return cards


def _decoded(manifest: Path) -> list[Pair]:
    """The lines of a manifest with their audio; a folder stands for the manifest.jsonl in it."""
    manifest = manifest / "manifest.jsonl" if manifest.is_dir() else manifest
    found = []
    for row in read_manifest(manifest):
        samples, rate_hz = read(manifest.parent / row["audio_filepath"])
        wave = resample(samples[:, 0], rate_hz, SAMPLE_RATE_HZ)
        known = {
            "voice": row.get("voice") or row.get("speaker"),
            "snr_db": estimated_snr_db(wave, SAMPLE_RATE_HZ),
        }
        found.append(({**row, **known}, wave))
    return found


def _test_set(pairs: Sequence[Pair]) -> TestSet:
    content = hashlib.sha256()
    for row, wave in pairs:
        content.update(json.dumps(row, sort_keys=True).encode())
        content.update(np.ascontiguousarray(wave).tobytes())
    return TestSet(
        [dict(row) for row, _ in pairs], [wave for _, wave in pairs], content.hexdigest()
    )


def sample_by_voice(pairs: Sequence[Pair], seconds: float) -> list[Pair]:
    """Up to `seconds` of an exam, one utterance of each voice in turn, in the order they come."""
    by_voice: dict[str, list[Pair]] = {}
    for row, wave in pairs:
        by_voice.setdefault(str(row.get("voice") or row.get("contact_id")), []).append((row, wave))
    chosen: list[Pair] = []
    length_s = 0.0
    for pair in (
        one for turn in zip_longest(*by_voice.values()) for one in turn if one is not None
    ):
        length_s += len(pair[1]) / SAMPLE_RATE_HZ
        if chosen and length_s > seconds:
            break
        chosen.append(pair)
    return chosen if seconds > 0 else []


def confidence_ece(
    calibration: Calibration | None, exam: TestSet, heard: Sequence[Transcript]
) -> dict[str, Any]:
    """How far confidence is from the truth on an exam: expected calibration error, before and after calibration."""
    from models.asr.confidence import expected_calibration_error

    scores, right, _ = word_correctness(exam.rows, heard)
    if not len(scores):
        return {"words": 0, "calibrated": calibration is not None}
    found = {
        "words": len(scores),
        "calibrated": calibration is not None,
        "ece_uncalibrated": round(expected_calibration_error(scores, right), 4),
    }
    if calibration:
        found["ece"] = round(expected_calibration_error(calibration(scores), right), 4)
    return found
