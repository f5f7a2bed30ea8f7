"""Test sets: the whole test as it is, a sample through every effect, general speech.

They are the same when made twice.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from data.speech.transcripts import Word
from evaluation.asr.test_sets import load_test_sets
from evaluation.metrics.word_correctness import word_correctness
from evaluation.params import EvaluationParams
from models.asr.transcript import Transcript
from tests.speech_helpers import a_manifest

CONDITIONS = ("as_delivered", "gsm", "noise_10db")


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve utterances: eight of one voice, three of another, one of a third."""
    path = a_manifest(tmp_path_factory.mktemp("test_sets") / "test.jsonl", count=12)
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    for number, row in enumerate(rows):
        row |= {
            "contact_id": f"c{number}",
            "voice": "a" if number < 8 else "b" if number < 11 else "c",
        }
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_the_test_itself_is_all_of_the_manifest_as_delivered(manifest: Path) -> None:
    test = load_test_sets(
        manifest, EvaluationParams(conditions=(), guardrail_s=0, critical_sentence_words=0)
    )
    assert list(test) == ["test"]
    assert [row["contact_id"] for row in test["test"].rows] == [f"c{n}" for n in range(12)]
    assert all(row["snr_db"] is not None for row in test["test"].rows)


def test_a_sample_of_every_voice_goes_through_every_condition(manifest: Path) -> None:
    parts = load_test_sets(
        manifest,
        EvaluationParams(
            conditions=CONDITIONS, condition_s=6.0, guardrail_s=0, critical_sentence_words=0
        ),
    )
    per_condition = parts["conditions"]
    voices_heard = {
        name: [row["contact_id"] for row in per_condition.rows if row["condition"] == name]
        for name in CONDITIONS
    }
    assert voices_heard["as_delivered"] == voices_heard["gsm"] == voices_heard["noise_10db"]
    assert voices_heard["gsm"][:3] == [
        "c0",
        "c8",
        "c11",
    ]  # one of each voice before a second of any
    assert per_condition.duration_s <= 6.0 * len(CONDITIONS)
    clean, gsm = (
        [
            wave
            for row, wave in zip(per_condition.rows, per_condition.waves, strict=True)
            if row["condition"] == name
        ]
        for name in ("as_delivered", "gsm")
    )
    assert np.array_equal(clean[0], parts["test"].waves[0])
    assert not np.array_equal(gsm[0], clean[0])


def test_the_same_params_make_the_same_exam_and_another_seed_another(manifest: Path) -> None:
    params = EvaluationParams(
        conditions=CONDITIONS, condition_s=4.0, guardrail_s=10.0, critical_sentence_words=3
    )
    first, again = load_test_sets(manifest, params), load_test_sets(manifest, params)
    assert {name: part.data_hash for name, part in first.items()} == {
        n: p.data_hash for n, p in again.items()
    }
    other = load_test_sets(
        manifest,
        EvaluationParams(
            seed=8,
            conditions=CONDITIONS,
            condition_s=4.0,
            guardrail_s=10.0,
            critical_sentence_words=3,
        ),
    )
    assert other["test"].data_hash == first["test"].data_hash
    assert other["conditions"].data_hash != first["conditions"].data_hash
    assert other["guardrail"].data_hash != first["guardrail"].data_hash
    planted = first["critical_sentences"]
    assert other["critical_sentences"].data_hash != planted.data_hash
    assert any("cancel" in row["text"] for row in planted.rows)
    assert all(wave.dtype == np.float32 and wave.any() for wave in planted.waves)


def test_general_speech_comes_from_the_manifests_named_or_is_spoken(manifest: Path) -> None:
    spoken = load_test_sets(
        manifest, EvaluationParams(conditions=(), guardrail_s=40.0, critical_sentence_words=0)
    )["guardrail"]
    assert 40.0 - 6.0 <= spoken.duration_s <= 40.0
    assert len(Counter(row["voice"] for row in spoken.rows)) == 12
    named = load_test_sets(
        manifest,
        EvaluationParams(
            conditions=(), guardrail=(str(manifest),), guardrail_s=1000.0, critical_sentence_words=0
        ),
    )
    assert {row["text"] for row in named["guardrail"].rows} == {
        row["text"] for row in named["test"].rows
    }
    with pytest.raises(ValueError, match=r"no/such.jsonl: no general speech in it"):
        load_test_sets(manifest, EvaluationParams(conditions=(), guardrail=("no/such.jsonl",)))


def test_a_condition_that_is_none_is_refused_before_anything_runs() -> None:
    with pytest.raises(ValueError, match="'gsn' is no telephone effect"):
        EvaluationParams(conditions=("gsn",))


def test_capitals_figures_and_marks_are_no_errors_of_a_cased_recogniser() -> None:
    words = [
        Word(text, 0.0, 0.1, 0.5 + n / 10) for n, text in enumerate(["Yes,", "-", "20", "Dollars."])
    ]
    scores, right, calls = word_correctness(
        [{"text": "yes thirty dollars", "contact_id": "k1"}],
        [Transcript("Yes, - 20 Dollars.", words, 0.9)],
    )
    assert scores.tolist() == [0.5, 0.7, 0.8]
    assert right.tolist() == [True, False, True]
    assert set(calls) == {"k1"}
