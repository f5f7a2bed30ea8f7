"""Promises of the base that ships: one call from folders of speech and dialogue to a `.nemo` with its card."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.asr import load
from tests.speaking import a_manifest
from training.base import BaseTraining, sampler, train_base
from training.base_speech import REAL_SETS, prepare, recorded

TINY = BaseTraining(
    channels=16, kernels=(5,), repeat=1, simulated_hours=0.01, simulated_voices=10, steps=4, batch_duration_s=10.0,
    warmup_steps=1, short_steps=1, clean_steps=1, valid_steps=2, threads=1,
)  # fmt: skip


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """speech/ with a few utterances a set, of two speakers for the digits, and dialogue/."""
    folder = tmp_path_factory.mktemp("sets")
    for number, name in enumerate((*REAL_SETS, "barista")):
        a_manifest(folder / "speech" / name / "manifest.jsonl", 3, seed=number, speaker="one")
    digits = folder / "speech" / "spoken_digits" / "manifest.jsonl"
    rows = [json.loads(line) for line in digits.read_text().splitlines()]
    rows[0]["speaker"] = "yweweler"
    digits.write_text("\n".join(json.dumps(row) for row in rows))
    (folder / "dialogue").mkdir()
    with gzip.open(folder / "dialogue" / "talk.jsonl.gz", "wt") as lines:
        for text in ("Where is my card? I need it on the 3rd.", "Please pay my bill.", "thank you for your help"):
            lines.write(json.dumps({"text": text}) + "\n")
        lines.write(json.dumps({"turns": [["customer", "cancel my line"], ["agent", "sure"]]}) + "\n")
    return folder


def test_one_call_makes_the_checkpoint_and_a_card_with_sources_licences_and_figures(sets: Path, tmp_path: Path) -> None:
    work, out = tmp_path / "work", tmp_path / "out"
    summary = train_base(TINY, sets / "speech", sets / "dialogue", work, out)
    recognizer = load(out / "keepline-base.nemo")
    card = (out / "card.md").read_text()
    assert summary["step"] == TINY.steps
    assert recognizer.parameters == summary["parameters"]
    assert recognizer.size_bytes == summary["size_bytes"] < 16_000_000
    for name in (*REAL_SETS, "simulated"):
        assert f"| {name} |" in card
    assert "CDLA-Permissive-1.0" in card
    assert set(summary["wer"]) >= {"spoken_digits", "barista"}
    assert f"| barista | 3 | {summary['wer']['barista']['minutes']} |" in card
    with pytest.raises(ValueError, match="begun with other settings"):
        train_base(BaseTraining(), sets / "speech", sets / "dialogue", work, out)


def test_the_same_seed_prepares_the_same_audio_and_keeps_speakers_and_barista_out(sets: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        rows = prepare(sets / "speech", sets / "dialogue", tmp_path / name, 1, 0.01, 20)
    assert (tmp_path / "a" / "audio.i16").read_bytes() == (tmp_path / "b" / "audio.i16").read_bytes()
    assert {row["set"] for row in rows} == {*REAL_SETS, "simulated"}
    assert [row["held_out"] for row in rows if row["set"] == "spoken_digits"] == [True, False, False]
    simulated = [row for row in rows if row["set"] == "simulated"]
    assert any("third" in row["text"] for row in simulated)
    voices = {kind: {row["speaker"] for row in simulated if row["held_out"] == kind} for kind in (True, False)}
    assert not voices[True] & voices[False]


def test_short_utterances_come_first_and_every_set_gets_its_share() -> None:
    rng = np.random.default_rng(0)
    rows: list[dict[str, Any]] = [
        {"set": name, "frames": int(16000 * seconds)}
        for name, longest_s in (("simulated", 12.0), ("speech_commands", 1.5))
        for seconds in rng.uniform(0.5, longest_s, 400)
    ]
    params = BaseTraining(shares={"simulated": 0.75, "speech_commands": 0.25}, short_steps=10)
    at = sampler(params, rows)
    duration_s = np.array([row["frames"] for row in rows]) / 16000
    assert max(duration_s[at(step)].max() for step in range(10)) <= params.short_s
    later = [at(step) for step in range(20, 420)]
    assert all(duration_s[batch].max() * len(batch) <= params.batch_duration_s for batch in later)
    assert all(len(set(batch.tolist())) == len(batch) for batch in later)
    given = {"simulated": 0.0, "speech_commands": 0.0}
    for batch in later:
        for i in batch:
            given[rows[i]["set"]] += duration_s[i]
    assert given["simulated"] / sum(given.values()) == pytest.approx(0.75, abs=0.06)
    assert at(33).tolist() == sampler(params, rows)(33).tolist()


def test_a_speaker_to_hold_out_who_is_not_there_is_named(tmp_path: Path) -> None:
    manifest = a_manifest(tmp_path / "spoken_digits" / "manifest.jsonl", 1, speaker="one")
    with pytest.raises(ValueError, match="no speaker yweweler, who is to be held out"):
        list(recorded(manifest.parent, "spoken_digits"))


def test_a_missing_set_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"librispeech.manifest\.jsonl: no manifest"):
        prepare(tmp_path, tmp_path, tmp_path / "work", 0, 0.01, 4)
