"""Confidence is calibrated on whole held-out calls, not on turns that people cut out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from data.audio import AudioError
from data.records import RECORDINGS, TURNS
from data.speech.transcripts import TranscriptTurn, Word
from data.speech.utterances import transcribed_calls
from models.asr import load
from models.asr.confidence import FILE, load_calibration
from models.asr.segments import Segmentation
from training.asr.calibration import calibrate_confidence


def a_table(schema: dict[str, Any], rows: list[dict[str, Any]]) -> pl.DataFrame:
    return pl.DataFrame([{name: row.get(name) for name in schema} for row in rows], schema=schema)


def test_A5_calls_to_calibrate_on_are_held_out_and_hold_all_that_customers_were_typed_to_say() -> (
    None
):
    turns = [
        {"contact_id": call, "turn": turn, "role": role, "text": text, "origin": origin}
        for call in ("k1", "k2", "k3", "k4")
        for turn, role, text, origin in (
            (2, "customer", "my bill", "person"),
            (1, "agent", "hello", "person"),
            (0, "customer", "yes", "person"),
            (3, "customer", "guessed", "asr"),
        )
    ]
    clean = {
        "turns": a_table(TURNS, [turn for turn in turns if turn["contact_id"] != "k4"]),
        "recordings": a_table(
            RECORDINGS, [{"contact_id": call} for call in ("k3", "k1", "k2", "k4")]
        ),
    }
    splits = pl.DataFrame(
        {"contact_id": ["k1", "k2", "k3", "k4", None], "split": ["valid", "train", *["valid"] * 3]}
    )
    assert [
        (call["contact_id"], call["text"]) for call in transcribed_calls(clean, splits, "valid")
    ] == [
        ("k1", "yes my bill"),
        ("k3", "yes my bill"),
    ]


class Recogniser:
    """Recognises a customer's first word and, in silence, another with the same confidence."""

    def transcribe_call(
        self,
        samples: np.ndarray[Any, Any],
        sample_rate_hz: int,
        roles: dict[int, str],
        segmentation: Segmentation,
    ) -> list[TranscriptTurn]:
        summary = Word("bill", 0.0, 0.5, 0.9)
        never = Word("noise", 5.0, 5.5, 0.9 if samples[0, 0] else 0.5)
        return [
            TranscriptTurn(roles[1], 0.0, 0.5, "hello", 0.9, [Word("hello", 0.0, 0.5, 0.9)]),
            TranscriptTurn(roles[0], 0.0, 0.5, "bill", 0.9, [summary]),
            TranscriptTurn(roles[0], 5.0, 5.5, "noise", 0.9, [never]),
        ]


def test_A5_words_heard_where_nobody_speaks_count_as_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(load, "load", lambda model, exports: Recogniser())
    calls = [
        {"contact_id": f"k{n}", "customer_channel": 0, "agent_channel": 1, "text": "Bill, please."}
        for n in range(80)
    ]

    def read_audio(contact_id: str) -> tuple[np.ndarray[Any, Any], int]:
        if contact_id == "k7":
            raise AudioError("k7: torn.")
        return np.full((8000, 2), float(int(contact_id[1:]) % 2)), 8000

    summary = calibrate_confidence(
        tmp_path / "model.nemo",
        calls,
        read_audio=read_audio,
        segmentation=Segmentation(),
        exports=tmp_path,
    )
    assert (summary["calibrated"], summary["calls"], summary["words"]) == (True, 79, 158)
    fitted = load_calibration(tmp_path / "model.nemo")
    assert fitted is not None
    sure, unsure = fitted(np.array([0.9, 0.5]))
    assert sure == pytest.approx(79 / (79 + 39), abs=0.03)
    assert unsure < 0.2


def test_A5_too_few_words_leave_no_calibration_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(load, "load", lambda model, exports: Recogniser())
    (tmp_path / FILE).write_text("{}")
    summary = calibrate_confidence(
        tmp_path / "model.nemo",
        [],
        read_audio=lambda call: (np.zeros((1, 2)), 8000),
        segmentation=Segmentation(),
        exports=tmp_path,
    )
    assert not summary["calibrated"]
    assert "too few to calibrate on" in summary["says"]
    assert not (tmp_path / FILE).exists()
