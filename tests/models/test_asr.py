"""Promises of the recogniser: words with times, calls with roles, and clear refusals."""

from __future__ import annotations

import io
import itertools
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.asr import ModelError, Recognizer, Word, _transcript, fetch, load
from models.segments import Segmentation, speech_segments
from tests.speaking import a_nemo

NAMES = list(" abcdefghijklmnopqrstuvwxyz'")
BLANK = len(NAMES)


def steps_of(picture: str) -> np.ndarray:
    """`hh-ee_` → label numbers: - is a blank, _ a space."""
    return np.array([BLANK if c == "-" else 0 if c == "_" else NAMES.index(c) for c in picture])


def heard(picture: str, names: list[str] = NAMES) -> Any:
    labels = steps_of(picture)
    return _transcript(labels, np.full(len(labels), 0.5, np.float32), names, 0.02)


def bursts(*spans: tuple[float, float], duration_s: float = 10.0, noise: float = 0.001) -> np.ndarray:
    """16 kHz noise floor with a louder tone within each span of seconds."""
    at = np.arange(int(16000 * duration_s)) / 16000
    sound = np.random.default_rng(0).normal(0, noise, len(at))
    for begin, end in spans:
        sound += 0.2 * np.sin(2 * np.pi * 300 * at) * ((at >= begin) & (at < end))
    return sound.astype(np.float32)


@pytest.fixture(scope="module")
def recognizer(tmp_path_factory: pytest.TempPathFactory) -> Recognizer:
    return load(a_nemo(tmp_path_factory.mktemp("asr") / "tiny.nemo", channels=16, kernels=(5,)))


def test_repeats_fall_together_and_a_blank_keeps_doubles_apart() -> None:
    assert heard("-bb-ii-l-ll-__-oo-ff-ff--").text == "bill off"
    assert heard("hhel-llo").text == "hello"
    assert heard("--__--").text == heard("").text == ""


def test_words_carry_their_times_and_confidence() -> None:
    assert heard("--no---_-yes-").words == [Word("no", 0.04, 0.08, 0.5), Word("yes", 0.18, 0.24, 0.5)]


def test_word_pieces_part_at_their_marks() -> None:
    names = ["▁can", "cel", "▁my", "▁"]
    labels = np.array([0, 0, 4, 1, 2, 3, 1])
    assert _transcript(labels, np.ones(7, np.float32), names, 0.04).text == "cancel my cel"


def test_speech_is_found_where_it_is_with_a_margin() -> None:
    found = speech_segments(bursts((1, 2), (5, 6.5)), 16000)
    assert np.array(found) == pytest.approx(np.array([(0.8, 2.2), (4.8, 6.7)]), abs=0.05)


def test_short_pauses_join_and_clicks_are_left_out() -> None:
    found = speech_segments(bursts((1, 2), (2.3, 3), (7, 7.05)), 16000)
    assert np.array(found) == pytest.approx(np.array([(0.8, 3.2)]), abs=0.05)


def test_no_segment_is_longer_than_allowed_and_nothing_between_is_lost() -> None:
    words = [(second, second + 0.8) for second in range(1, 59)]
    found = speech_segments(bursts(*words, duration_s=60.0), 16000, Segmentation(longest_s=15))
    assert max(end - begin for begin, end in found) <= 15
    assert found[0][0] == pytest.approx(0.8, abs=0.05)
    assert found[-1][1] == pytest.approx(59.0, abs=0.05)
    assert all(first[1] == second[0] for first, second in itertools.pairwise(found))


@pytest.mark.parametrize("samples", [np.zeros(0), np.zeros(100), np.zeros(160000), bursts(duration_s=10.0)])
def test_silence_holds_no_speech_worth_the_name(samples: np.ndarray) -> None:
    assert sum(end - begin for begin, end in speech_segments(samples.astype(np.float32), 16000)) < 1.0


def test_the_company_in_a_batch_changes_nothing(recognizer: Recognizer) -> None:
    waves = [bursts((0.1, 0.5), duration_s=s, noise=0.05) for s in (3.0, 0.7, 1.9)]
    together = recognizer.transcribe(waves)
    alone = [recognizer.transcribe([wave])[0] for wave in waves]
    assert [heard.text for heard in together] == [heard.text for heard in alone]
    assert any(heard.text for heard in together)
    for one, other in zip(together, alone, strict=True):
        assert one.confidence == pytest.approx(other.confidence, abs=1e-3)


def test_nothing_to_hear_is_an_empty_transcript(recognizer: Recognizer) -> None:
    empty, short = recognizer.transcribe([np.zeros(0, np.float32), np.zeros(800, np.float32)])
    assert empty.text == short.text == ""
    assert recognizer.transcribe([]) == []


def test_times_stay_within_the_audio_and_in_order(recognizer: Recognizer) -> None:
    wave = bursts((0, 4), duration_s=4.0, noise=0.3)
    words = recognizer.transcribe([wave])[0].words
    assert words
    edges = [edge for word in words for edge in (word.start_s, word.end_s)]
    assert edges == sorted(edges)
    assert edges[-1] <= 4.05
    assert all(0 <= word.confidence <= 1 for word in words)


def test_size_and_parameters_are_those_of_the_file(recognizer: Recognizer) -> None:
    assert 3_000 < recognizer.parameters < 10_000
    assert recognizer.size_bytes > 4 * recognizer.parameters


def test_a_call_without_the_channel_is_refused(recognizer: Recognizer) -> None:
    with pytest.raises(ValueError, match=r"channel 1 \(agent\) is not among the 1 there"):
        recognizer.transcribe_call(np.zeros((8000, 1), np.float32), 8000, {0: "customer", 1: "agent"})


def test_a_file_that_is_not_a_nemo_is_named(tmp_path: Path) -> None:
    text, other = tmp_path / "text.nemo", tmp_path / "other.nemo"
    text.write_text("a letter")
    with tarfile.open(other, "w") as archive:
        member = tarfile.TarInfo("model_config.yaml")
        archive.addfile(member, io.BytesIO(b""))
    for path, reason in (
        (tmp_path / "gone.nemo", r"gone\.nemo: no such file"),
        (text, r"text\.nemo: not a \.nemo \(not a tar archive\)"),
        (other, r"other\.nemo: not a \.nemo \(model_weights\.ckpt is missing in it\)"),
    ):
        with pytest.raises(ModelError, match=reason):
            load(path)


def test_weights_that_would_run_code_are_refused(tmp_path: Path) -> None:
    import pickle

    class Payload:
        def __reduce__(self) -> Any:
            return (Path.touch, (tmp_path / "ran",))

    good = a_nemo(tmp_path / "good.nemo", channels=16, kernels=(5,))
    bad = tmp_path / "bad.nemo"
    with tarfile.open(good) as source, tarfile.open(bad, "w") as target:
        for member in source.getmembers():
            content = source.extractfile(member)
            data = content.read() if content else b""
            if member.name.endswith("model_weights.ckpt"):
                data = pickle.dumps(Payload())
            member.size = len(data)
            target.addfile(member, io.BytesIO(data))
    with pytest.raises(ModelError, match=r"bad\.nemo: model_weights.ckpt is not a PyTorch archive"):
        load(bad)
    assert not (tmp_path / "ran").exists()


def test_a_name_the_hub_does_not_have_is_refused() -> None:
    with pytest.raises(ModelError, match="no_such_model: cannot be fetched from the hub"):
        fetch("no_such_model")
