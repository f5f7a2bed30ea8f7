"""Manifests: what cannot be used is left out with its reason, and hours add up."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from data.audio import AudioError
from tests.speech_helpers import a_manifest
from training.asr.manifest import (
    FileCorpus,
    JoinedCorpus,
    Limits,
    ManifestError,
    ManifestReport,
    TrainingSpeech,
    read_manifest,
)

LIMITS = Limits(shortest_s=0.2, longest_s=20.0, defect_share=0.05, in_memory_hours=1.0)
LETTERS = "abcdefghijklmnopqrstuvwxyz "


def encode(text: str) -> tuple[list[int], str]:
    return [LETTERS.find(letter) for letter in text], "".join(sorted(set(text) - set(LETTERS)))


def read_report(
    path: Path, limits: Limits = LIMITS, for_training: bool = True
) -> tuple[TrainingSpeech, ManifestReport]:
    report = ManifestReport(str(path))
    return read_manifest(
        path, encode, step_s=0.02, limits=limits, report=report, for_training=for_training
    ), report


def with_line(path: Path, **row: Any) -> None:
    path.write_text(path.read_text() + json.dumps(row) + "\n")


def a_wav(path: Path, seconds: float, channels: int = 1) -> str:
    soundfile.write(path, np.zeros((int(16000 * seconds), channels)), 16000)
    return path.name


def test_what_cannot_be_learnt_from_is_skipped_and_the_hours_add_up(tmp_path: Path) -> None:
    manifest = a_manifest(tmp_path / "m.jsonl", 3)
    rows = (
        ("tiny", 0.1, "yes"),
        ("long", 7200, "yes"),
        ("dense", 0.3, "yes " * 20),
        ("mute", 1, ""),
    )
    for name, seconds, text in rows:
        audio = a_wav(tmp_path / f"{name}.wav", min(seconds, 30))
        with_line(manifest, audio_filepath=audio, duration=seconds, text=text)
    speech, report = read_report(manifest)
    assert len(speech.corpus) == len(speech.tokens) == len(speech.utterance_ids) == 3
    summary = report.summary()
    assert {reason: entry["utterances"] for reason, entry in summary["skipped"].items()} == {
        "shorter than 0.2 s": 1,
        "longer than 20.0 s": 1,
        "more text than fits its audio": 1,
        "no text": 1,
    }
    assert summary["skipped"]["longer than 20.0 s"] == {
        "utterances": 1,
        "hours": 2.0,
        "first": f"{manifest.parent.name}/{manifest.name}:5",
    }
    lost = sum(entry["hours"] for entry in summary["skipped"].values())
    assert summary["hours_given"] == pytest.approx(summary["hours"] + lost)
    assert report.defects == []
    measured, _ = read_report(manifest, for_training=False)
    assert measured.corpus.texts[-2:] == ["yes " * 20, ""]  # to measure on, text need not fit


def test_telephone_speech_is_heard_at_the_models_rate(tmp_path: Path) -> None:
    manifest = a_manifest(tmp_path / "m.jsonl", 2, sample_rate_hz=8000)
    expected_s = [json.loads(line)["duration"] for line in manifest.read_text().splitlines()]
    assert read_report(manifest)[0].corpus.duration_s == pytest.approx(expected_s, abs=0.001)


def test_offset_and_duration_cut_a_longer_file(tmp_path: Path) -> None:
    soundfile.write(
        tmp_path / "call.wav", np.concatenate([np.zeros(16000), np.full(16000, 0.5)]), 16000
    )
    manifest = tmp_path / "m.jsonl"
    manifest.write_text("")
    for offset in (0.5, 1.0):
        with_line(manifest, audio_filepath="call.wav", offset=offset, duration=0.5, text="yes")
    for limits in (LIMITS, replace(LIMITS, in_memory_hours=0.0)):
        corpus = read_report(manifest, limits)[0].corpus
        assert [round(float(corpus.wave(i).mean()), 2) for i in range(2)] == [0.0, 0.5]
        assert [len(corpus.wave(i)) for i in range(2)] == [8000, 8000]


def test_offset_and_duration_may_be_given_alone_or_as_null(tmp_path: Path) -> None:
    a_wav(tmp_path / "call.wav", 2.0)
    manifest = tmp_path / "m.jsonl"
    manifest.write_text("")
    for times in (
        {"duration": 0.5},
        {"offset": 0.5},
        {"offset": None, "duration": 0.5},
        {"duration": None},
    ):
        with_line(manifest, audio_filepath="call.wav", text="yes", **times)
    for limits in (LIMITS, replace(LIMITS, in_memory_hours=0.0)):
        corpus = read_report(manifest, limits)[0].corpus
        assert [len(corpus.wave(i)) for i in range(4)] == [8000, 24000, 8000, 32000]


BROKEN: dict[str, tuple[Callable[[Path], str], str]] = {
    "json": (lambda folder: "{not json", r"m\.jsonl:3: not a manifest line"),
    "keys": (lambda folder: '{"text": "yes"}', r"m\.jsonl:3: not a manifest line .*audio_filepath"),
    "list": (lambda folder: "[1]", r"m\.jsonl:3: not a manifest line"),
    "no text": (
        lambda folder: '{"audio_filepath": "m-000.wav", "text": null}',
        r"m\.jsonl:3: not a manifest line \(text is null\)\. It needs audio_filepath and text",
    ),
    "text in parts": (
        lambda folder: '{"audio_filepath": "m-000.wav", "text": ["yes"]}',
        r"m\.jsonl:3: not a manifest line \(text is \[\"yes\"\]\)",
    ),
    "endless": (
        lambda folder: '{"audio_filepath": "m-000.wav", "text": "yes", "duration": NaN}',
        r"m\.jsonl:3: not a manifest line \(duration is nan\)\. .* offset and duration are seconds",
    ),
    "before": (
        lambda folder: '{"audio_filepath": "m-000.wav", "text": "yes", "offset": -1}',
        r"m\.jsonl:3: not a manifest line \(offset is -1\.0\)",
    ),
    "gone": (
        lambda folder: '{"audio_filepath": "gone.wav", "text": "yes"}',
        r"m\.jsonl:3: .*gone\.wav",
    ),
    "labels": (
        lambda folder: '{"audio_filepath": "m-000.wav", "text": "Yes, 5"}',
        r"m\.jsonl:3: ',5Y' in 'Yes, 5' is not among the model's labels\. Normalise",
    ),
    "text": (
        lambda folder: (
            f'{{"audio_filepath": "{(folder / "x.wav").write_text("no") and "x.wav"}", "text": "yes"}}'
        ),
        r"m\.jsonl:3: .*x\.wav.* Export it again\. 1 of 3 lines are broken; asr\.defect_share allows 5%",
    ),
    "stereo": (
        lambda folder: f'{{"audio_filepath": "{a_wav(folder / "s.wav", 1, 2)}", "text": "yes"}}',
        r"m\.jsonl:3: .*s\.wav has 2 channels",
    ),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_line_is_named(tmp_path: Path, kind: str) -> None:
    line, message = BROKEN[kind]
    manifest = a_manifest(tmp_path / "m.jsonl", 2)
    manifest.write_text(manifest.read_text() + line(tmp_path) + "\n")
    with pytest.raises(ManifestError, match=message):
        read_report(manifest)


def test_a_corrupt_file_in_500_is_quarantined_and_the_rest_is_used(tmp_path: Path) -> None:
    manifest = a_manifest(tmp_path / "m.jsonl", 10)
    manifest.write_text(manifest.read_text() * 50)
    whole = (tmp_path / "m-004.wav").read_bytes()
    (tmp_path / "bad.wav").write_bytes(whole[: len(whole) // 2])
    with_line(manifest, audio_filepath="bad.wav", duration=3.6, text="yes")
    speech, report = read_report(manifest)
    assert len(speech.corpus) == report.utterances == 500
    (defect,) = report.defects
    assert defect["thing"] == f"{manifest}:501"
    assert "truncated" in defect["reason"]
    assert report.summary()["skipped"]["unreadable audio"]["hours"] == pytest.approx(0.001)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", r"empty\.jsonl: no utterance to use among 0 lines\. Deliver more"),
        (
            '{"audio_filepath": "x.wav", "duration": 0.1, "text": "a"}\n',
            r"no utterance to use among 1 lines \(1 shorter than 0\.2 s\)",
        ),
    ],
)
def test_a_manifest_without_anything_to_use_is_refused(
    tmp_path: Path, content: str, message: str
) -> None:
    (tmp_path / "empty.jsonl").write_text(content)
    with pytest.raises(ManifestError, match=message):
        read_report(tmp_path / "empty.jsonl")


def test_an_unreadable_manifest_is_refused(tmp_path: Path) -> None:
    (tmp_path / "binary.jsonl").write_bytes(b"\xff\xfe\x00")
    for name in ("gone.jsonl", "binary.jsonl", "."):
        with pytest.raises(ManifestError, match="cannot be read"):
            read_report(tmp_path / name)


def test_more_speech_than_memory_stays_in_its_files_and_sounds_the_same(tmp_path: Path) -> None:
    manifest = a_manifest(tmp_path / "m.jsonl", 3, sample_rate_hz=8000)
    near, far = (
        read_report(manifest)[0].corpus,
        read_report(manifest, replace(LIMITS, in_memory_hours=0.0))[0].corpus,
    )
    assert isinstance(far, FileCorpus)
    both = JoinedCorpus([near, far])
    for i in range(3):
        assert np.array_equal(near.wave(i, 1.1), far.wave(i, 1.1))
        assert np.array_equal(both.wave(3 + i), near.wave(i))
    assert both.frames[3:].tolist() == far.frames.tolist()


def test_audio_that_breaks_while_training_is_named_and_too_much_of_it_ends_training(
    tmp_path: Path,
) -> None:
    manifest = a_manifest(tmp_path / "m.jsonl", 20)
    limits = replace(LIMITS, in_memory_hours=0.0)
    far = read_report(manifest, limits)[0].corpus
    (tmp_path / "m-003.wav").write_bytes(b"RIFF")
    for _ in range(2):
        with pytest.raises(AudioError, match=r"m-003\.wav"):
            far.wave(3)
    a_wav(tmp_path / "m-004.wav", 0.1)
    with pytest.raises(ManifestError, match=r"m-004\.wav: lasts 0\.1 s.*one of 2 unreadable of 20"):
        far.wave(4)
