"""Tests that transcribed turns become manifests, once, and that nothing leaks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import soundfile

from data.audio import AudioError
from data.records import frame
from data.speech.utterances import cut_utterances
from data.splits import LeakError
from tests.factories import a_recording, a_turn

RATE = 8000


def a_side(contact_id: str, split: str, voice: str = "v1") -> dict[str, str]:
    return {"contact_id": contact_id, "customer_id": "C1", "voice_group": voice, "split": split}


def the_splits(*sides: dict[str, str]) -> pl.DataFrame:
    schema = {
        "contact_id": pl.String,
        "customer_id": pl.String,
        "voice_group": pl.String,
        "split": pl.String,
    }
    return pl.DataFrame(list(sides), schema=schema)


def a_two_channel_tone(_contact_id: str = "") -> tuple[np.ndarray, int]:
    """Two seconds: 400 Hz on channel 0 (the customer), 900 Hz on channel 1."""
    at = np.arange(2 * RATE) / RATE
    return np.stack([0.3 * np.sin(2 * np.pi * hz * at) for hz in (400, 900)], 1).astype(
        np.float32
    ), RATE


def run(out: Path, turns: list[Any], *sides: dict[str, str], **changes: Any) -> dict[str, Any]:
    recordings = frame("recordings", [a_recording(side["contact_id"], **changes) for side in sides])
    return cut_utterances(
        recordings,
        frame("turns", turns),
        the_splits(*sides),
        read_audio=a_two_channel_tone,
        out=out,
    )


def require_manifest(out: Path, split: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / f"{split}.jsonl").read_text().splitlines()]


def pitch_hz(path: Path) -> float:
    samples, rate = soundfile.read(path)
    assert rate == 16000
    assert samples.ndim == 1
    return float(np.abs(np.fft.rfft(samples)).argmax() * rate / len(samples))


def test_each_role_is_cut_from_its_own_channel_at_16_khz(tmp_path: Path) -> None:
    turns = [
        a_turn("a", 0, "customer", "Hello!", start_s=0.5, end_s=1.0),
        a_turn("a", 1, "agent", "Pay $5", start_s=1.0, end_s=1.75),
    ]
    summary = run(tmp_path, turns, a_side("a", "train"))
    customer, agent = require_manifest(tmp_path, "train")
    assert customer["text"] == "hello"
    assert agent["text"] == "pay five dollars"
    assert pitch_hz(tmp_path / customer["audio_filepath"]) == pytest.approx(400, abs=5)
    assert pitch_hz(tmp_path / agent["audio_filepath"]) == pytest.approx(900, abs=5)
    assert soundfile.info(tmp_path / agent["audio_filepath"]).duration == agent["duration"] == 0.75
    assert (customer["voice"], agent["voice"], customer["start_s"]) == ("v1", None, 0.5)
    assert summary["splits"]["train"] == {"utterances": 2, "duration_s": 1.25}


def test_an_agent_who_may_be_known_from_training_is_not_in_the_test(tmp_path: Path) -> None:
    turns = [
        a_turn("a", 0, "customer", "yes", start_s=0.0, end_s=0.5),
        a_turn("a", 1, "agent", "sure", start_s=0.5, end_s=1.0),
    ]
    summary = run(tmp_path, turns, a_side("a", "test"))
    assert [row["role"] for row in require_manifest(tmp_path, "test")] == ["customer"]
    assert summary["skipped"] == {"agent outside train": 1}


def test_what_cannot_be_used_is_counted_under_its_reason(tmp_path: Path) -> None:
    turns = [
        a_turn("a", 0, "customer", "good", start_s=0.0, end_s=0.5),
        a_turn("a", 1, "customer", "…", start_s=0.5, end_s=1.0),
        a_turn("a", 2, "customer", "short", start_s=1.0, end_s=1.05),
        a_turn("a", 3, "customer", "late", start_s=1.5, end_s=9.0),
        a_turn("a", 4, "customer", "timeless"),
        a_turn("a", 5, "system", "music", start_s=0.0, end_s=1.0),
        a_turn("a", 6, "customer", "guess", start_s=0.0, end_s=1.0, origin="asr"),
        a_turn("b", 0, "customer", "aside", start_s=0.0, end_s=1.0),
        a_turn("lost", 0, "customer", "gone", start_s=0.0, end_s=1.0),
    ]
    summary = run(tmp_path, turns, a_side("a", "train"), a_side("b", "aside"))
    assert [row["text"] for row in require_manifest(tmp_path, "train")] == ["good"]
    assert summary["skipped"] == {
        "beyond the recording": 1,
        "call set aside by the split": 1,
        "neither customer nor agent": 1,
        "no recording": 1,
        "no times": 1,
        "no words": 1,
        "shorter than 0.1 s": 1,
    }


def test_a_second_run_decodes_nothing_and_changes_nothing(tmp_path: Path) -> None:
    turns = [a_turn("a", 0, "customer", "yes", start_s=0.0, end_s=0.5)]
    first = run(tmp_path, turns, a_side("a", "train"))
    before = (tmp_path / "train.jsonl").read_bytes()

    def never(contact_id: str) -> tuple[np.ndarray, int]:
        raise AssertionError(f"{contact_id} was decoded again")

    recordings = frame("recordings", [a_recording("a")])
    second = cut_utterances(
        recordings,
        frame("turns", turns),
        the_splits(a_side("a", "train")),
        read_audio=never,
        out=tmp_path,
    )
    assert (first["written"], first["reused"], second["written"], second["reused"]) == (1, 0, 0, 1)
    assert (tmp_path / "train.jsonl").read_bytes() == before


def test_a_changed_recording_is_cut_again_and_the_old_cut_goes(tmp_path: Path) -> None:
    turns = [a_turn("a", 0, "customer", "yes", start_s=0.0, end_s=0.5)]
    run(tmp_path, turns, a_side("a", "train"))
    (old,) = (tmp_path / "audio").iterdir()
    summary = run(tmp_path, turns, a_side("a", "train"), sha256="1" * 64)
    assert summary["written"] == 1
    assert not old.exists()
    assert len(list((tmp_path / "audio").iterdir())) == 1


def test_a_torn_cut_is_written_again(tmp_path: Path) -> None:
    turns = [a_turn("a", 0, "customer", "yes", start_s=0.0, end_s=0.5)]
    run(tmp_path, turns, a_side("a", "train"))
    (torn,) = (tmp_path / "audio").iterdir()
    whole = torn.read_bytes()
    torn.write_bytes(whole[:1000])
    assert run(tmp_path, turns, a_side("a", "train"))["written"] == 1
    assert torn.read_bytes() == whole


def test_the_test_set_keeps_whatever_can_be_cut(tmp_path: Path) -> None:
    turns = [
        a_turn("a", 0, "customer", "[coughs]", start_s=0.0, end_s=0.5),
        a_turn("a", 1, "customer", "…", start_s=0.5, end_s=1.0),
        a_turn("a", 2, "customer", "uh", start_s=1.0, end_s=1.05),
        a_turn("a", 3, "customer", "late", start_s=1.5, end_s=9.0),
    ]
    summary = run(tmp_path, turns, a_side("a", "test"))
    assert [(row["text"], row["duration"]) for row in require_manifest(tmp_path, "test")] == [
        ("coughs", 0.5),
        ("", 0.5),
        ("uh", 0.05),
        ("late", 0.5),
    ]
    assert summary["skipped"] == {}


def test_every_millisecond_of_both_sides_has_a_reason(tmp_path: Path) -> None:
    turns = [
        a_turn("a", 0, "customer", "good", start_s=0.0, end_s=0.5),
        a_turn("a", 1, "customer", "…", start_s=0.4, end_s=1.0),
        a_turn("a", 2, "agent", "yes", start_s=1.0, end_s=1.75),
        a_turn("b", 0, "customer", "valid", start_s=0.0, end_s=1.0),
        a_turn("b", 1, "agent", "agent", start_s=1.0, end_s=2.0),
        a_turn("c", 0, "customer", "aside", start_s=0.0, end_s=1.0),
        a_turn("d", 0, "customer", "guess", start_s=0.0, end_s=1.0, origin="asr"),
    ]
    other = {**a_side("b", "valid", "v2"), "customer_id": "C2"}
    sides = [a_side("a", "train"), other, a_side("c", "aside"), a_side("d", "train")]
    ms = run(tmp_path, turns, *sides)["ms"]
    assert ms == {
        "train": 500 + 750,
        "no words": 500,
        "between turns": 1000 + 1250 + 1000 + 1000,
        "valid": 1000,
        "agent outside train": 1000,
        "call set aside by the split": 4000,
        "not transcribed": 4000,
    }
    assert sum(ms.values()) == 4 * 2 * 2000


def test_one_call_that_cannot_be_decoded_is_listed_and_the_others_are_cut(tmp_path: Path) -> None:
    turns = [a_turn(call, 0, "customer", "yes", start_s=0.0, end_s=0.5) for call in ("a", "b", "c")]
    sides = [a_side(call, "train") for call in ("a", "b", "c")]

    def torn(contact_id: str) -> tuple[np.ndarray, int]:
        if contact_id == "b":
            raise AudioError("b.wav: truncated (5 of 9 frames). Export it again.")
        return a_two_channel_tone()

    recordings = frame("recordings", [a_recording(side["contact_id"]) for side in sides])
    summary = cut_utterances(
        recordings, frame("turns", turns), the_splits(*sides), read_audio=torn, out=tmp_path
    )
    assert [row["contact_id"] for row in require_manifest(tmp_path, "train")] == ["a", "c"]
    assert summary["refused"] == [
        {
            "thing": "call b",
            "kind": "recording",
            "next_step": "Export it again.",
            "reason": "b.wav: truncated (5 of 9 frames)",
        }
    ]
    assert (summary["ms"]["unreadable"], sum(summary["ms"].values())) == (4000, 12000)


def test_a_voice_on_two_sides_stops_the_cut(tmp_path: Path) -> None:
    turns = [a_turn(call, 0, "customer", "yes", start_s=0.0, end_s=0.5) for call in ("a", "b")]
    with pytest.raises(LeakError, match="v1: in the speech of train and of test"):
        run(tmp_path, turns, a_side("a", "train"), {**a_side("b", "test"), "customer_id": "C2"})
    assert not (tmp_path / "test.jsonl").exists()
