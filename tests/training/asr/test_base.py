"""Training the base: one call from folders of speech and dialogue to a `.nemo` with its card."""

from __future__ import annotations

import gzip
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.asr.load import load
from models.asr.nemo import restore
from tests.speech_helpers import a_manifest
from training.asr.base import BaseTraining, base_batch_sampler, train_base
from training.asr.base_speech import (
    EVERY_NTH_SPEAKER,
    REAL_SETS,
    held_out_speakers,
    prepare_speech,
    synthesize_with_flite,
)
from training.asr.devices import DeviceError

TINY = BaseTraining(
    channels=16,
    kernels=(5,),
    repeat=1,
    simulated_hours=0.01,
    simulated_voices=10,
    flite_hours=0,
    steps=4,
    batch_duration_s=10.0,
    warmup_steps=1,
    short_steps=1,
    clean_steps=1,
    refine_steps=4,
    checkpoint_steps=2,
    valid_steps=2,
    threads=1,
)


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """speech/ with three utterances a set, the first by a speaker of its own, and dialogue/."""
    folder = tmp_path_factory.mktemp("sets")
    for number, name in enumerate(REAL_SETS):
        manifest = a_manifest(
            folder / "speech" / name / "manifest.jsonl", 3, seed=number, speaker="one"
        )
        rows = [json.loads(line) for line in manifest.read_text().splitlines()]
        rows[0]["speaker"] = "anna"
        manifest.write_text("\n".join(json.dumps(row) for row in rows))
    (folder / "dialogue").mkdir()
    with gzip.open(folder / "dialogue" / "talk.jsonl.gz", "wt") as lines:
        for text in (
            "Where is my card? I need it on the 3rd.",
            "Please pay my bill.",
            "thank you for your help",
        ):
            lines.write(json.dumps({"text": text}) + "\n")
        lines.write(
            json.dumps({"turns": [["customer", "cancel my line"], ["agent", "sure"]]}) + "\n"
        )
    return folder


@pytest.fixture(scope="module")
def made(sets: Path) -> tuple[Path, dict[str, Any]]:
    """The folder of a base that nothing interrupted, and its summary."""
    out = sets / "out"
    return out, train_base(
        TINY,
        speech_dir=sets / "speech",
        dialogue_dir=sets / "dialogue",
        work_dir=sets / "work",
        out=out,
    )


def test_one_call_makes_the_checkpoint_and_a_card_with_sources_licences_and_figures(
    sets: Path, made: tuple[Path, dict[str, Any]]
) -> None:
    out, summary = made
    recognizer = load(out / "keepline-base.nemo")
    card = (out / "card.md").read_text()
    assert summary["step"] == TINY.steps + TINY.refine_steps
    assert recognizer.parameters == summary["parameters"]
    assert recognizer.size_bytes == summary["size_bytes"] < 16_000_000
    for name in (*REAL_SETS, "simulated"):
        assert f"| {name} |" in card
    assert "CDLA-Permissive-1.0" in card
    assert set(summary["wer"]) >= {"spoken_digits", "barista"}
    assert f"| barista | unknown | 1 | {summary['wer']['barista']['minutes']} |" in card
    with pytest.raises(ValueError, match="begun with other settings"):
        train_base(
            BaseTraining(),
            speech_dir=sets / "speech",
            dialogue_dir=sets / "dialogue",
            work_dir=sets / "work",
            out=out,
        )


@pytest.mark.parametrize(("at", "from_step"), [(3, 2), (7, 6)])  # before and in the refining steps
def test_a_stopped_training_goes_on_and_ends_with_the_very_weights(
    sets: Path, made: tuple[Path, dict[str, Any]], tmp_path: Path, at: int, from_step: int
) -> None:
    def stop(done: int, _total: int) -> None:
        if done == at:
            raise KeyboardInterrupt

    arguments: dict[str, Any] = {
        "speech_dir": sets / "speech",
        "dialogue_dir": sets / "dialogue",
        "work_dir": tmp_path / "work",
        "out": tmp_path / "out",
    }
    with pytest.raises(KeyboardInterrupt):
        train_base(TINY, **arguments, progress=stop)
    summary = train_base(TINY, **arguments)
    assert (summary["resumed_from"], summary["step"]) == (from_step, 8)
    unbroken, resumed = (
        restore(out / "keepline-base.nemo").state_dict() for out in (made[0], tmp_path / "out")
    )
    assert all((value == resumed[name]).all() for name, value in unbroken.items())


def test_a_device_that_is_not_there_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match=r"base\.device is .tpu.. It can be cpu, cuda or auto"):
        train_base(
            replace(TINY, device="tpu"),
            speech_dir=tmp_path,
            dialogue_dir=tmp_path,
            work_dir=tmp_path / "work",
            out=tmp_path / "out",
        )


def test_the_same_seed_prepares_the_same_audio_and_keeps_speakers_out(
    sets: Path, tmp_path: Path
) -> None:
    for name in ("a", "b"):
        rows = prepare_speech(
            sets / "speech",
            sets / "dialogue",
            tmp_path / name,
            seed=1,
            simulated_hours=0.01,
            simulated_voices=20,
        )
    assert (tmp_path / "a" / "audio.i16").read_bytes() == (
        tmp_path / "b" / "audio.i16"
    ).read_bytes()
    assert {row["set"] for row in rows} == {*REAL_SETS, "simulated"}
    for name in EVERY_NTH_SPEAKER:
        assert [row["held_out"] for row in rows if row["set"] == name] == [True, False, False]
    simulated = [row for row in rows if row["set"] == "simulated"]
    assert any("third" in row["text"] for row in simulated)
    voices = {
        kind: {row["speaker"] for row in simulated if row["held_out"] == kind}
        for kind in (True, False)
    }
    assert not voices[True] & voices[False]


def test_short_utterances_come_first_and_every_set_gets_its_share() -> None:
    rng = np.random.default_rng(0)
    rows: list[dict[str, Any]] = [
        {"set": name, "frames": int(16000 * seconds)}
        for name, longest_s in (("simulated", 12.0), ("speech_commands", 1.5))
        for seconds in rng.uniform(0.5, longest_s, 400)
    ]
    params = BaseTraining(shares={"simulated": 0.75, "speech_commands": 0.25}, short_steps=10)
    at = base_batch_sampler(params, rows)
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
    assert at(33).tolist() == base_batch_sampler(params, rows)(33).tolist()


def test_voices_held_out_are_the_same_ones_every_time() -> None:
    speakers = {f"voice{number:02}" for number in range(12)}
    assert held_out_speakers("barista", speakers) == {"voice00", "voice05", "voice10"}
    assert held_out_speakers("librispeech", speakers) == set()


def test_flite_is_asked_for_where_it_is_missing(
    monkeypatch: pytest.MonkeyPatch, sets: Path, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(FileNotFoundError, match=r"set base\.flite_hours to 0"):
        prepare_speech(
            sets / "speech",
            sets / "dialogue",
            tmp_path,
            seed=1,
            simulated_hours=0.01,
            simulated_voices=20,
            flite_hours=0.01,
        )


@pytest.mark.skipif(shutil.which("flite") is None, reason="flite is not installed")
def test_flite_reads_the_sentences_at_other_paces(sets: Path) -> None:
    spoken = list(synthesize_with_flite(sets / "dialogue", 1, 0.004))
    lengths = {len(samples) for samples, row in spoken if row["text"] == "please pay my bill"}
    assert len(lengths) > 1
    assert all(0.2 < len(samples) / 16000 < 8 for samples, _ in spoken)


def test_a_missing_set_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"barista.manifest\.jsonl: no manifest"):
        prepare_speech(
            tmp_path, tmp_path, tmp_path / "work", seed=0, simulated_hours=0.01, simulated_voices=4
        )
