"""The recogniser gives words with times and calls with roles, and refuses clearly."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data.audio import AudioError, read, to_wav_bytes
from data.simulator.voice import Synthesizer, voices
from data.speech.transcripts import Word
from models.asr.confidence import Calibration
from models.asr.load import load
from models.asr.nemo import ExportError, ModelError, export_onnx, fetch
from models.asr.onnx_network import OnnxNetwork
from models.asr.recognizer import Recognizer, collapse_labels
from models.asr.transcript import Transcript
from tests.speech_helpers import a_conformer_nemo, a_hub, a_hybrid_nemo, a_nemo, a_word_piece_nemo

NAMES = list(" abcdefghijklmnopqrstuvwxyz'")
BLANK = len(NAMES)


def steps_of(picture: str) -> np.ndarray:
    """`hh-ee_` → label numbers: - is a blank, _ a space."""
    return np.array([BLANK if c == "-" else 0 if c == "_" else NAMES.index(c) for c in picture])


def decode(picture: str, names: list[str] = NAMES) -> Transcript:
    """The transcript of a path drawn as for `steps_of`, each label with a probability of 0.5."""
    labels = steps_of(picture)
    probability = np.full(len(labels), 0.5, np.float32)
    return collapse_labels(labels, probability, names=names, step_s=0.02)


def bursts(
    *spans: tuple[float, float], duration_s: float = 10.0, noise: float = 0.001
) -> np.ndarray:
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
    assert decode("-bb-ii-l-ll-__-oo-ff-ff--").text == "bill off"
    assert decode("hhel-llo").text == "hello"
    assert decode("--__--").text == decode("").text == ""


def test_words_carry_their_times_and_confidence() -> None:
    assert decode("--no---_-yes-").words == [
        Word("no", 0.04, 0.08, 0.5),
        Word("yes", 0.18, 0.24, 0.5),
    ]


def test_word_pieces_part_at_their_marks() -> None:
    names = ["▁can", "cel", "▁my", "▁"]
    labels = np.array([0, 0, 4, 1, 2, 3, 1])
    transcript = collapse_labels(labels, np.ones(7, np.float32), names=names, step_s=0.04)
    assert transcript.text == "cancel my cel"


def test_the_rest_of_a_batch_changes_nothing(recognizer: Recognizer) -> None:
    waves = [bursts((0.1, 0.5), duration_s=s, noise=0.05) for s in (3.0, 0.7, 1.9)]
    together = recognizer.transcribe(waves)
    alone = [recognizer.transcribe([wave])[0] for wave in waves]
    assert [transcript.text for transcript in together] == [transcript.text for transcript in alone]
    assert any(transcript.text for transcript in together)
    for batched, single in zip(together, alone, strict=True):
        assert batched.confidence == pytest.approx(single.confidence, abs=1e-3)


def test_a_words_times_do_not_depend_on_the_rest_of_the_batch(tmp_path: Path) -> None:
    network = load(a_conformer_nemo(tmp_path / "conformer.nemo", subsampling=8)).network
    short, long = (
        np.random.default_rng(0).normal(0, 0.1, int(16000 * s)).astype(np.float32)
        for s in (0.5, 5.0)
    )
    assert network.log_probs([short])[1] == network.log_probs([short, long])[1] == 0.08


def test_no_audio_is_an_empty_transcript(recognizer: Recognizer) -> None:
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
        recognizer.transcribe_call(
            np.zeros((8000, 1), np.float32), 8000, {0: "customer", 1: "agent"}
        )


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


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    with a_hub(tmp_path / "hub", monkeypatch) as folder:
        yield folder


def test_a_hub_name_brings_the_model_of_that_name(hub: Path) -> None:
    offered = a_nemo(hub / "acme" / "tiny" / "tiny.nemo", channels=16, kernels=(5,))
    waves = [bursts((0.1, 1.8), duration_s=2.0, noise=0.05)]
    assert Recognizer(fetch("acme/tiny")).transcribe(waves) == load(offered).transcribe(waves)


def test_what_a_hub_offers_is_checked_before_it_is_unpacked(hub: Path) -> None:
    place = hub / "mallory" / "tiny"
    good = a_nemo(place / "good.nemo", channels=16, kernels=(5,))
    with tarfile.open(good) as source, tarfile.open(place / "tiny.nemo", "w") as target:
        for member in source.getmembers():
            target.addfile(member, source.extractfile(member))
        target.addfile(tarfile.TarInfo("helper.py"), io.BytesIO(b""))
    with pytest.raises(ModelError, match=r"tiny\.nemo: 'helper\.py' may hold a pickle"):
        fetch("mallory/tiny")


def test_an_export_transcribes_as_nemo_does(tmp_path: Path) -> None:
    for path in (
        a_nemo(tmp_path / "letters.nemo", channels=16, kernels=(5,)),
        a_word_piece_nemo(tmp_path / "pieces.nemo"),
        a_hybrid_nemo(tmp_path / "hybrid.nemo"),
        a_conformer_nemo(tmp_path / "conformer.nemo"),
    ):
        nemo, light = load(path), load(path, tmp_path / "exports")
        assert isinstance(light.network, OnnxNetwork)
        waves = [
            bursts((0.1, s - 0.2), duration_s=s, noise=0.05) for s in (0.1, 2.0, 0.73, 3.3, 25.0)
        ]
        pairs = zip(nemo.transcribe(waves), light.transcribe(waves), strict=True)
        for expected, transcript in pairs:
            assert transcript.text == expected.text
            assert [(w.start_s, w.end_s) for w in transcript.words] == [
                (w.start_s, w.end_s) for w in expected.words
            ]
            assert transcript.confidence == pytest.approx(expected.confidence, abs=2e-3)
        assert light.parameters == nemo.parameters
        assert light.size_bytes == nemo.size_bytes


def test_what_cannot_be_exported_is_refused_by_reason(tmp_path: Path) -> None:
    path = a_nemo(tmp_path / "tiny.nemo", channels=16, kernels=(5,))
    model = load(path).network.model  # type: ignore[attr-defined]
    model.preprocessor.featurizer.mag_power = 1.0
    with pytest.raises(ExportError, match="not plain log-mel"):
        export_onnx(model, tmp_path / "tiny.onnx", "0" * 64)
    assert not (tmp_path / "tiny.onnx").exists()


def test_a_long_wave_goes_through_an_export_in_parts(tmp_path: Path) -> None:
    path = a_nemo(tmp_path / "tiny.nemo", channels=16, kernels=(5,))
    light = load(path, tmp_path / "exports")
    scores, step_s = light.network.log_probs(
        [np.random.default_rng(0).normal(0, 0.1, 16000 * 301).astype(np.float32)]
    )
    assert len(scores[0]) * step_s == pytest.approx(301, abs=0.2)


def test_calibration_changes_confidence_and_nothing_else(recognizer: Recognizer) -> None:
    wave = bursts((0.1, 2.5), duration_s=3.0, noise=0.3)
    plain = recognizer.transcribe([wave])[0]
    calibrated = Recognizer(
        recognizer.network.model,  # type: ignore[attr-defined]
        calibration=Calibration(0.5, 0.5, -3.0, 200, 0.2, 0.02),
    ).transcribe([wave])[0]
    assert calibrated.text == plain.text
    assert plain.words
    assert all(
        a.confidence < b.confidence and a.start_s == b.start_s
        for a, b in zip(calibrated.words, plain.words, strict=True)
    )


def test_a_file_is_transcribed_as_its_samples_are(recognizer: Recognizer, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    speech = [
        Synthesizer().speak(text, voices(4, 3)[n], 8000)
        for n, text in enumerate(
            ("hello how can i help", "i want to cancel my plan", "just a moment please")
        )
    ]
    call = rng.normal(0, 0.001, (8000 * 70, 2)).astype(np.float32)
    for begin_s, channel, number in ((1, 1, 0), (29, 0, 1), (33.5, 1, 2), (59.2, 0, 2)):
        call[int(begin_s * 8000) :][: len(speech[number]), channel] += 0.5 * speech[number]
    content = to_wav_bytes(call, 8000, "ULAW")
    roles = {0: "customer", 1: "agent"}
    from_file = recognizer.transcribe_file(content, roles)
    assert from_file == recognizer.transcribe_call(read(content)[0], 8000, roles)
    assert [turn.role for turn in from_file] == ["agent", "customer", "agent", "customer"]
    assert [turn.start_s for turn in from_file] == pytest.approx([1, 29, 33.5, 59.2], abs=0.15)
    with pytest.raises(AudioError, match=r"line 7: truncated"):
        recognizer.transcribe_file(content[: len(content) // 2], roles, "line 7")
