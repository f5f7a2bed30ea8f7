"""The recogniser's side of the street: scoring a test manifest, hearing calls."""

from __future__ import annotations

import hashlib
import json
import re
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from data.audio import SAMPLE_RATE_HZ, AudioError, read, resample
from data.files import atomic
from data.progress import Progress
from data.simulator.general_speech import general_speech
from data.speech.manifests import lines_of, rows_of
from data.speech.telephone import effect, sounds_in
from data.speech.transcripts import roles_of
from data.text import normalise
from evaluation.metrics.snr import estimated_snr_db
from evaluation.metrics.wer import alignment
from evaluation.params import EvaluationParams
from flows.runtime.settings import ROOT

if TYPE_CHECKING:
    from evaluation.scorecard import Scorecard
    from models.asr.confidence import Calibration
    from models.asr.segments import Segmentation
    from models.asr.transcript import Transcript

Pair = tuple[dict[str, Any], np.ndarray]  # a line of a manifest, and its samples
AT_ONCE = 64  # utterances between two looks at the progress bar


def base_of(name: str, folder: Path) -> Path:
    """The `.nemo` that asr.base names: a file (relative to the checkout), or a hub model, brought once to `folder`."""
    local = ROOT / name
    if local.exists() or name.endswith(".nemo"):
        return local
    keep = folder / f"base-{re.sub('[^a-z0-9]+', '-', name.lower())}.nemo"
    if not keep.exists():
        from models.asr.nemo import fetch

        with atomic(keep) as temporary:
            fetch(name).save_to(str(temporary))
    return keep


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
    rows_of(manifest)  # raises when there is nothing to score on
    whole = _decoded(manifest)
    found = {"test": _exam(whole)}
    sample = _shared_out(whole, params.condition_s)
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
        general: list[Pair] = []
        for name in params.guardrail:
            found_there = _decoded(ROOT / name)
            if not found_there:
                raise ValueError(
                    f"{ROOT / name}: no general speech in it. Name a manifest in evaluation.guardrail."
                )
            general += found_there
        if not params.guardrail:
            general += general_speech(params.guardrail_s, params.seed, SAMPLE_RATE_HZ)
        found["guardrail"] = _exam(_shared_out(general, params.guardrail_s))
    return found


def examine(
    model: Path,
    parts: Mapping[str, Exam],
    name: str,
    bundle_sha256: str,
    params: EvaluationParams,
    now: datetime,
    progress: Progress = lambda done, total: None,
) -> dict[str, Scorecard]:
    """The `.nemo` at `model` on every exam: a scorecard each. That of the test also holds the conditions' figures."""
    from evaluation.metrics.critical import classes_with
    from evaluation.metrics.english import variants_with
    from evaluation.scorecard import asr_scorecard
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
        for begin in range(0, len(exam.waves), AT_ONCE):
            heard += recognizer.transcribe(exam.waves[begin : begin + AT_ONCE])
            progress(done + len(heard), total)
        done += len(heard)
        facts = {
            "parameters": recognizer.parameters,
            "size_bytes": model.stat().st_size,
            "times_real_time": exam.duration_s / (time.monotonic() - began),
            "confidence": _sureness(calibration, exam, heard),
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
    for row in lines_of(manifest):
        samples, rate_hz = read(manifest.parent / row["audio_filepath"])
        wave = resample(samples[:, 0], rate_hz, SAMPLE_RATE_HZ)
        known = {
            "voice": row.get("voice") or row.get("speaker"),
            "snr_db": estimated_snr_db(wave, SAMPLE_RATE_HZ),
        }
        found.append(({**row, **known}, wave))
    return found


def _exam(pairs: Sequence[Pair]) -> Exam:
    content = hashlib.sha256()
    for row, wave in pairs:
        content.update(json.dumps(row, sort_keys=True).encode())
        content.update(np.ascontiguousarray(wave).tobytes())
    return Exam([dict(row) for row, _ in pairs], [wave for _, wave in pairs], content.hexdigest())


def _shared_out(pairs: Sequence[Pair], seconds: float) -> list[Pair]:
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


def smoke_sample(manifest: Path) -> Path:
    """The longest test cut, for the service to transcribe before a release."""
    return (
        manifest.parent / max(rows_of(manifest), key=lambda row: row["duration"])["audio_filepath"]
    )


def judged_words(
    rows: Sequence[Mapping[str, Any]], heard: Sequence[Transcript]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of every word heard: its confidence, whether it was said there, and the call it is from.

    Words count as said once normalised, so "Yes," may stand for "yes" and "20" for "twenty"; what has no letters is
    left out.
    """
    scores, right, calls = [], [], []
    for row, transcript in zip(rows, heard, strict=True):
        plain = [normalise(word.text).split() for word in transcript.words]
        pairs = alignment(
            normalise(row["text"]), " ".join(part for parts in plain for part in parts)
        )
        met = iter([said == part for said, part in pairs if part is not None])
        for word, parts in zip(transcript.words, plain, strict=True):
            if parts:
                scores.append(word.confidence)
                right.append(sum(next(met) for _ in parts) == len(parts))
                calls.append(str(row.get("contact_id") or row["audio_filepath"]))
    return np.array(scores, float), np.array(right, bool), np.array(calls, str)


def calibrate(
    model: Path,
    calls: Sequence[Mapping[str, Any]],
    read_audio: Callable[[str], tuple[np.ndarray, int]],
    segmentation: Segmentation,
    exports: Path,
) -> dict[str, Any]:
    """Writes confidence.json beside the `.nemo`, fitted on words of held-out `calls` (see `told`), as calls are heard.

    Whole sides are compared with all that was typed of them, so that words heard where nobody speaks count as wrong.
    Calls that cannot be decoded are left out. Where there are too few words there is no calibration, which is said.
    """
    from models.asr import confidence
    from models.asr.load import load
    from models.asr.transcript import Transcript

    path = model.with_name(confidence.FILE)
    path.unlink(missing_ok=True)
    recognizer = load(model, exports)
    rows, heard = [], []
    for call in calls:
        try:
            turns = recognizer.transcribe_call(
                *read_audio(call["contact_id"]), roles_of(call), segmentation
            )
        except AudioError:
            continue
        words = [word for turn in turns if turn.role == "customer" for word in turn.words]
        rows.append(call)
        heard.append(Transcript(" ".join(word.text for word in words), words, 0.0))
    try:
        fitted = confidence.fit(*judged_words(rows, heard))
    except confidence.CalibrationError as error:
        return {"calibrated": False, "says": str(error)}
    confidence.save(path, fitted)
    return {"calibrated": True, "calls": len(rows), **asdict(fitted)}


def _sureness(
    calibration: Calibration | None, exam: Exam, heard: Sequence[Transcript]
) -> dict[str, Any]:
    """How far confidence is from the truth on an exam: expected calibration error, before and after calibration."""
    from models.asr.confidence import expected_calibration_error

    scores, right, _ = judged_words(exam.rows, heard)
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
