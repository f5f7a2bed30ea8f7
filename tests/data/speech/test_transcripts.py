"""Tests that other tools read the transcript formats and that no word is lost."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from data.speech.transcripts import (
    CallTranscript,
    TranscriptTurn,
    Word,
    from_json,
    to_ctm,
    to_json,
    to_lhotse,
    to_nemo,
    to_vtt,
)

TURNS = [
    TranscriptTurn(
        "agent",
        0.5,
        2.0,
        "good <day>",
        0.9,
        [Word("good", 0.6, 0.9, 0.95), Word("<day>", 1.0, 1.9, 0.85)],
    ),
    TranscriptTurn(
        "customer",
        1.8,
        3.0,
        "pay & go",
        0.5,
        [Word("pay", 1.8, 2.1, 0.5), Word("go", 2.5, 3.02, 0.5)],
    ),
    TranscriptTurn("agent", 3661.5, 3662.0, "bye", 0.7, [Word("bye", 3661.6, 3661.9, 0.7)]),
]
CALL = CallTranscript(
    "line 7",
    "/calls/line 7.wav",
    8000,
    2,
    8000 * 3700,
    {0: "customer", 1: "agent"},
    TURNS,
    "m1",
    True,
)


def test_json_gives_back_the_call() -> None:
    assert from_json(to_json(CALL)) == CALL
    for wrong in ("", "[]", '{"turns": []}', to_json(CALL).replace('"end_s"', '"end"')):
        with pytest.raises(ValueError, match="not a transcript"):
            from_json(wrong)


def test_vtt_has_a_cue_a_turn_with_its_voice() -> None:
    lines = to_vtt(CALL).split("\n")
    assert lines[0] == "WEBVTT"
    assert "00:00:00.500 --> 00:00:02.000" in lines
    assert "01:01:01.500 --> 01:01:02.000" in lines
    assert "<v agent>good &lt;day&gt;" in lines
    assert "<v customer>pay &amp; go" in lines


def test_ctm_is_sorted_by_channel_and_time_with_six_fields() -> None:
    rows = [line.split() for line in to_ctm(CALL).splitlines()]
    assert [row[:4] for row in rows[:2]] == [
        ["line_7", "1", "1.800", "0.300"],
        ["line_7", "1", "2.500", "0.520"],
    ]
    assert [row[1] for row in rows] == ["1", "1", "2", "2", "2"]
    assert all(len(row) == 6 for row in rows)


def test_nemo_rows_name_a_cut_each() -> None:
    rows = [json.loads(line) for line in to_nemo(CALL, ["a.wav", "b.wav", "c.wav"]).splitlines()]
    assert [(row["audio_filepath"], row["duration"]) for row in rows] == [
        ("a.wav", 1.5),
        ("b.wav", 1.2),
        ("c.wav", 0.5),
    ]
    with pytest.raises(ValueError, match="argument 2"):
        to_nemo(CALL, ["a.wav"])


def test_lhotse_reads_the_cuts_and_their_words() -> None:
    from lhotse import CutSet

    cuts = CutSet.from_dicts(json.loads(line) for line in to_lhotse(CALL).splitlines())
    first, second, _ = list(cuts)
    assert (first.start, first.duration, first.channel) == (0.5, 1.5, 1)
    assert second.supervisions[0].custom["role"] == "customer"
    assert [word.symbol for word in first.supervisions[0].alignment["word"]] == ["good", "<day>"]
    assert first.supervisions[0].alignment["word"][0].start == pytest.approx(0.1)


def test_a_turn_beyond_the_end_is_cut_to_the_recording() -> None:
    short = replace(CALL, frames=8000 * 3661 + 6000)
    assert json.loads(to_lhotse(short).splitlines()[-1])["duration"] == pytest.approx(0.25)
