"""Held-out speech (calls, telephone conditions, general and critical) and a recogniser's scores."""

from __future__ import annotations

import hashlib
import json
import time
import zlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from data.audio import SAMPLE_RATE_HZ, read, resample
from data.progress import Progress
from data.simulator.critical_sentences import critical_sentences
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
BATCH = 64  # utterances between two updates of the progress bar


@dataclass(frozen=True)
class TestSet:
    """Speech with reference texts: manifest rows and samples (16 kHz mono float32 [frames])."""

    rows: list[dict[str, Any]]
    waves: list[np.ndarray]
    data_hash: str  # over text and audio

    @property
    def duration_s(self) -> float:
        """Total duration of the audio in seconds."""
        return sum(len(wave) for wave in self.waves) / SAMPLE_RATE_HZ


@dataclass(frozen=True)
class TestSpeech:
    """What the manifest does not say of test calls."""

    customers: Mapping[str, str] = field(default_factory=dict)  # by contact_id
    left_out: frozenset[str] = frozenset()  # contacts that a model to be scored learned from


def load_test_sets(
    manifest: Path,
    params: EvaluationParams,
    root: Path = Path(),
    *,
    speech: TestSpeech | None = None,
) -> dict[str, TestSet]:
    """Returns the test sets of a recogniser by name.

    `test` is all of the manifest. `conditions` are a sample of it through each telephone effect,
    with the same seed for every model. `guardrail` is general speech. `critical_sentences` are
    planted sentences with critical words, in simulated voices through a telephone. A part that
    params leave empty is absent. `root` is the folder that relative paths in `params.guardrail`
    start from. Raises ValueError when the manifest or a guardrail is empty or cannot be read.
    """
    require_manifest(manifest)  # raises when there is nothing to score on
    speech = speech or TestSpeech()
    pairs = _decoded(manifest, speech.left_out)
    test_sets = {"test": _test_set(pairs, speech.customers)}
    conditions = _through_conditions(sample_by_voice(pairs, params.condition_s), params)
    if conditions:
        test_sets["conditions"] = _test_set(conditions, speech.customers)
    if params.guardrail_s > 0:
        general: list[Pair] = []
        for name in params.guardrail:
            part = _decoded(root / name)
            if not part:
                raise ValueError(
                    f"{root / name}: no general speech in it. Name a manifest in "
                    "evaluation.guardrail."
                )
            general += part
        if not params.guardrail:
            general += general_speech(params.guardrail_s, params.seed, SAMPLE_RATE_HZ)
        test_sets["guardrail"] = _test_set(sample_by_voice(general, params.guardrail_s))
    if params.critical_sentence_words > 0:
        test_sets["critical_sentences"] = _test_set(_planted_sentences(params))
    return test_sets


def test_set_of(speech: Path, contacts: Collection[str]) -> TestSet | None:
    """Returns the cut speech of customers in `contacts`, from all manifests in a folder.

    None where there is none.
    """
    pairs = [
        pair
        for manifest in sorted(speech.glob("*.jsonl"))
        for pair in _decoded(manifest, only=frozenset(contacts))
    ]
    return _test_set(pairs) if pairs else None


def _planted_sentences(params: EvaluationParams) -> list[Pair]:
    """Returns sentences with critical words, µ-law and A-law in turn."""
    from evaluation.metrics.critical import extended_classes

    planted = critical_sentences(
        extended_classes(params.critical),
        params.critical_sentence_words,
        params.seed,
        SAMPLE_RATE_HZ,
    )
    lines = effect("mulaw"), effect("alaw")
    return [
        (row, lines[n % 2](wave, SAMPLE_RATE_HZ, np.random.default_rng([params.seed, n])))
        for n, (row, wave) in enumerate(planted)
    ]


def _through_conditions(sample: Sequence[Pair], params: EvaluationParams) -> list[Pair]:
    """Returns the sample once through each telephone effect of params."""
    sounds = load_background_sounds(params.noise_dir, params.music_dir, SAMPLE_RATE_HZ)
    treated = []
    for condition in params.conditions if sample else ():
        for number, (row, wave) in enumerate(sample):
            other = sample[number - 1][1]  # for crosstalk
            background = replace(sounds, speech=((other, SAMPLE_RATE_HZ),) if other.any() else ())
            rng = np.random.default_rng([params.seed, number, zlib.crc32(condition.encode())])
            changed = effect(condition, background)(wave, SAMPLE_RATE_HZ, rng)
            treated.append(({**row, "condition": condition}, changed))
    return treated


def evaluate(
    model: Path,
    parts: Mapping[str, TestSet],
    *,
    name: str,
    bundle_sha256: str,
    params: EvaluationParams,
    now: datetime,
    progress: Progress = lambda done, total: None,
    exports: Path | None = None,
) -> dict[str, Scorecard]:
    """Returns a scorecard of the `.nemo` at `model` on each test set, by the test set's name.

    The one of `test` also holds the figures of the conditions. With `exports`, a folder, the
    network runs from its ONNX export there, which loads in a second.
    """
    from evaluation.asr.scorecard import asr_scorecard
    from evaluation.metrics.critical import extended_classes
    from evaluation.metrics.english import extended_variants
    from models.asr.load import load

    recognizer = load(model, exports)
    # Taken off, to measure confidence both with and without calibration.
    calibration, recognizer.calibration = recognizer.calibration, None
    classes, variants = extended_classes(params.critical), extended_variants(params.spellings)
    total = sum(len(test_set.waves) for test_set in parts.values())
    done, cards = 0, {}
    for part, test_set in parts.items():
        began = time.monotonic()
        transcripts: list[Transcript] = []
        for begin in range(0, len(test_set.waves), BATCH):
            transcripts += recognizer.transcribe(test_set.waves[begin : begin + BATCH])
            progress(done + len(transcripts), total)
        done += len(transcripts)
        facts = {
            "parameters": recognizer.parameters,
            "size_bytes": model.stat().st_size,
            "times_real_time": test_set.duration_s / (time.monotonic() - began),
            "confidence": confidence_ece(calibration, test_set, transcripts),
        }
        cards[part] = asr_scorecard(
            test_set.rows,
            [transcript.text for transcript in transcripts],
            model=name,
            data_hash=test_set.data_hash,
            seed=params.seed,
            created_at=now.isoformat(),
            bundle_sha256=bundle_sha256,
            facts=facts,
            classes=classes,
            variants=variants,
        )
    if "conditions" in cards:
        cards["test"] = replace(cards["test"], conditions=cards["conditions"].slices["condition"])
    return cards


def _decoded(
    manifest: Path,
    left_out: frozenset[str] = frozenset(),
    *,
    only: Collection[str] | None = None,
) -> list[Pair]:
    """Returns the lines of a manifest with their audio; a folder stands for its manifest.jsonl.

    Those of the contacts `left_out` are not among them. `only` are contacts whose customers alone
    are wanted.
    """
    manifest = manifest / "manifest.jsonl" if manifest.is_dir() else manifest
    pairs = []
    for row in read_manifest(manifest):
        if row.get("contact_id") in left_out:
            continue
        if only is not None and (row["contact_id"] not in only or row["role"] != "customer"):
            continue
        samples, rate_hz = read(manifest.parent / row["audio_filepath"])
        wave = resample(samples[:, 0], rate_hz, SAMPLE_RATE_HZ)
        added = {
            "voice": row.get("voice") or row.get("speaker"),
            "snr_db": estimated_snr_db(wave, SAMPLE_RATE_HZ),
        }
        pairs.append(({**row, **added}, wave))
    return pairs


def _test_set(pairs: Sequence[Pair], customers: Mapping[str, str] | None = None) -> TestSet:
    """The test set of `pairs`. Rows get their customer by contact; the hash is of what is said."""
    content, customers = hashlib.sha256(), customers or {}
    for row, wave in pairs:
        content.update(json.dumps(row, sort_keys=True).encode())
        content.update(np.ascontiguousarray(wave).tobytes())
    return TestSet(
        [
            {**row, "customer": customers[row["contact_id"]]}
            if row.get("contact_id") in customers
            else dict(row)
            for row, _ in pairs
        ],
        [wave for _, wave in pairs],
        content.hexdigest(),
    )


def sample_by_voice(pairs: Sequence[Pair], seconds: float) -> list[Pair]:
    """Returns up to `seconds` of audio, one utterance of each voice in turn, in the given order.

    At least one utterance, unless `seconds` is 0.
    """
    by_voice: dict[str, list[Pair]] = {}
    for row, wave in pairs:
        by_voice.setdefault(str(row.get("voice") or row.get("contact_id")), []).append((row, wave))
    chosen: list[Pair] = []
    length_s = 0.0
    for pair in (
        pair for turn in zip_longest(*by_voice.values()) for pair in turn if pair is not None
    ):
        length_s += len(pair[1]) / SAMPLE_RATE_HZ
        if chosen and length_s > seconds:
            break
        chosen.append(pair)
    return chosen if seconds > 0 else []


def confidence_ece(
    calibration: Calibration | None, test_set: TestSet, transcripts: Sequence[Transcript]
) -> dict[str, Any]:
    """Returns the expected calibration error of word confidence, before and after calibration."""
    from models.asr.confidence import expected_calibration_error

    scores, right, _ = word_correctness(test_set.rows, transcripts)
    if not len(scores):
        return {"words": 0, "calibrated": calibration is not None}
    figures = {
        "words": len(scores),
        "calibrated": calibration is not None,
        "ece_uncalibrated": round(expected_calibration_error(scores, right), 4),
    }
    if calibration:
        figures["ece"] = round(expected_calibration_error(calibration(scores), right), 4)
    return figures
