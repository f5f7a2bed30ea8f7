"""Whatever a source uses as an id, its files stay in their folder, and no id stops the others."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.audio import to_wav_bytes
from data.files import LONGEST_NAME, file_name
from data.records import frame
from data.speech.shards import add_shards, member_name, read_member
from data.speech.utterances import cut_utterances
from tests.factories import a_recording, a_turn

HOSTILE = (
    "../../../../outside/call",
    "/absolute/call",
    "2024/05/call-1",
    "a\0b",
    ".",
    "..",
    ".hidden",
    "%2E%2E",
    "a\nb",
    "C:\\calls\\1",
    "[2026]*?",
    "x" * 300,
    "\u901a" * 120,
    "\U0001f4de",
)


@given(st.text(min_size=1, max_size=400))
def test_I6_a_name_stays_in_its_folder_and_is_short_enough(identity: str) -> None:
    name = file_name(identity, "-0001-0123456789.wav")
    assert Path(name).name == name
    assert not name.startswith(".")
    assert len(name.encode()) <= LONGEST_NAME + 20
    assert name == file_name(identity, "-0001-0123456789.wav")


@given(st.text(min_size=1, max_size=200), st.text(min_size=1, max_size=200))
def test_I6_two_ids_never_share_a_name(one: str, other: str) -> None:
    assert (file_name(one) == file_name(other)) == (one == other)


def test_I6_ids_that_used_to_be_names_keep_them() -> None:
    assert file_name("K000052", "-0000.wav") == "K000052-0000.wav"
    assert file_name("call-1_b.2") == "call-1_b.2"


@pytest.mark.parametrize("identity", HOSTILE)
def test_I6_a_call_is_cut_and_packed_whatever_its_id(tmp_path: Path, identity: str) -> None:
    rate = 8000
    wave = 0.3 * np.sin(np.arange(2 * rate) / 3).astype(np.float32)
    both = np.stack([wave, wave], 1)
    ids = [identity, "call-1"]
    store = tmp_path / "deep" / "store"
    sides = [
        {"contact_id": name, "customer_id": "C1", "voice_group": "v1", "split": "train"}
        for name in ids
    ]
    summary = cut_utterances(
        frame("recordings", [a_recording(name) for name in ids]),
        frame(
            "turns", [a_turn(name, 0, "customer", "Hello!", start_s=0.5, end_s=1.0) for name in ids]
        ),
        pl.DataFrame(sides),
        read_audio=lambda _: (both, rate),
        out=store / "speech",
    )
    assert summary["splits"]["train"]["utterances"] == 2
    rows = [
        json.loads(line) for line in (store / "speech" / "train.jsonl").read_text().splitlines()
    ]
    assert {row["contact_id"] for row in rows} == set(ids)
    recording = tmp_path / "in.wav"
    recording.write_bytes(to_wav_bytes(both, rate))
    members = {member_name(name, recording): recording for name in ids}
    packed = add_shards(store / "shards", members, first=0, shard_mb=1)
    for member in members:
        assert read_member(store / "shards", packed[member][0], member) == recording.read_bytes()
    outside = [path for path in tmp_path.rglob("*") if path.is_file() and store not in path.parents]
    assert outside == [recording]
