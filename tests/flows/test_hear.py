"""`keepline hear`: from a bare folder of recordings, some with their words, to a judged model and transcripts."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from data.audio import to_wav_bytes
from data.simulator.voice import Synthesizer, voices
from tests.flows.conftest import keepline

SAID = ("i want to cancel my line", "please pay my bill", "two large coffees with milk")


@pytest.fixture(scope="module")
def heard(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The store that `keepline hear` left, and what it said: 14 voices, of which the last two say what nobody wrote."""
    root = tmp_path_factory.mktemp("hear")
    synthesizer, lines = Synthesizer(), []
    (root / "folder").mkdir()
    for number, voice in enumerate(voices(14, seed=3)):
        for take, text in enumerate(SAID):
            name = f"{number:02}-{take}.wav"
            (root / "folder" / name).write_bytes(to_wav_bytes(synthesizer.speak(text, voice, 16000), 16000))
            lines.append({"audio_filepath": name, "speaker": voice.name, "text": text if number < 12 else ""})
    (root / "folder" / "manifest.jsonl").write_text("\n".join(json.dumps(line) for line in lines))
    (root / "words.txt").write_text("modem\nbroadband upgrade\ni want to cancel.\n")
    done = keepline(root / "store", "hear", str(root / "folder"), "--words", str(root / "words.txt"),
                    "--store", str(root / "store"))  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return root / "store", done.stdout


def test_A1_a_bare_folder_of_recordings_teaches_the_recogniser(heard: tuple[Path, str]) -> None:
    store, said = heard
    trained = json.loads((store / "train_asr.json").read_text())
    decision = json.loads((store / "decide_asr.json").read_text())
    assert trained["train"]["utterances"] > 0
    assert decision["verdict"] in ("accepted", "refused")
    assert "held-out wer" in said
    assert not (store / "features.parquet").exists()


def test_A6_one_command_makes_it_hear_the_folder_better_than_the_base(heard: tuple[Path, str]) -> None:
    found = json.loads((heard[0] / "evaluate_asr.json").read_text())
    assert found["candidate"]["wer"]["value"] < 0.8 * found["reference"]["wer"]["value"]


def test_A6_the_word_list_is_learnt_from(heard: tuple[Path, str]) -> None:
    store, _ = heard
    assert "broadband upgrade" in (store / "asr" / "bundle" / "language.arpa").read_text()


def test_A1_what_nobody_wrote_down_is_transcribed(heard: tuple[Path, str]) -> None:
    store, said = heard
    turns = pl.read_parquet(store / "transcripts.parquet")
    wanted = {f"{number}-{take}" for number in (12, 13) for take in range(3)}
    assert set(turns["contact_id"]) <= wanted
    assert str(store / "transcripts.parquet") in said.replace("\n", "")
