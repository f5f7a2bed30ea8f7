"""Adaptation with text: terms are read or refused, weights are tuned on validation speech only."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from data.text import ALPHABET
from models.asr import decoding
from models.asr.decoding import Decoding, load_decoder
from models.asr.language import Text
from models.asr.recognizer import Recognizer
from tests.models.asr.test_decoding import network_output
from training.asr import text_adaptation
from training.asr.text_adaptation import (
    TermsError,
    TextAdaptation,
    adapt,
    read_terms,
    synthesize_manifest,
)


class FakeNetwork:
    """A network whose output is given; the first sample of the audio says which one."""

    labels = tuple(ALPHABET)

    def __init__(self, *outputs: np.ndarray) -> None:
        self.outputs = outputs

    def log_probs(self, waves: list[np.ndarray]) -> tuple[list[np.ndarray], float]:
        return [self.outputs[round(float(wave[0]) * 100)] for wave in waves], 0.02


@pytest.fixture
def use_network(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Makes `adapt` use a FakeNetwork with the given outputs instead of restoring a `.nemo`."""

    def use(*outputs: np.ndarray) -> None:
        def recognizer(_: Any) -> Recognizer:
            fake: Any = Recognizer.__new__(Recognizer)
            fake.network, fake.labels = FakeNetwork(*outputs), FakeNetwork.labels
            fake.decoder = fake.calibration = None
            assert isinstance(fake, Recognizer)
            return fake

        monkeypatch.setattr(text_adaptation, "restore", lambda path: path)
        monkeypatch.setattr(text_adaptation, "Recognizer", recognizer)

    return use


def write_manifest(path: Path, texts: list[str]) -> Path:
    lines = []
    for number, text in enumerate(texts):
        wave = np.zeros(4000, np.float32)
        wave[0] = number / 100
        soundfile.write(path.parent / f"{number}.wav", wave, 16000, subtype="FLOAT")
        lines.append(
            json.dumps({"audio_filepath": f"{number}.wav", "duration": 0.25, "text": text})
        )
    path.write_text("\n".join(lines) + "\n")
    return path


ORDERS = [
    Text(text) for text in ("can i get a flat white", "a flat white please", "an iced latte please")
]


def test_what_validation_shows_to_be_better_is_left_beside_the_model(
    tmp_path: Path, use_network: Callable[..., None]
) -> None:
    texts = ["a flat white", "an iced latte"]
    use_network(network_output("a flat wgite", texts[0]), network_output("an iced lagge", texts[1]))
    params = TextAdaptation(decoding=Decoding(mode="beam", boosts=("Zuzana",)))
    seen = []
    figures = adapt(
        params,
        ORDERS,
        model=tmp_path / "model.nemo",
        valid_manifest=write_manifest(tmp_path / "valid.jsonl", texts),
        folder=tmp_path,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert (figures["mode"], figures["wer_greedy"], figures["wer_beam"]) == ("beam", 2 / 6, 0)
    search = load_decoder(tmp_path / "model.nemo", FakeNetwork.labels)
    assert search is not None
    assert search.settings.boosts == ("Zuzana",)
    assert (search.settings.alpha, search.settings.beta) == (figures["alpha"], figures["beta"])
    assert search(network_output("a flat wgite", texts[0]), 0.02).text == texts[0]
    assert (
        "\tzuzana\t" in (tmp_path / "language.arpa").read_text()
    )  # a term to listen for is known to the model
    assert json.loads((tmp_path / "language.json").read_text())["texts"] == 4
    assert seen == sorted(seen)
    assert seen[-1][0] == seen[-1][1]


def test_greedy_stays_where_text_does_not_help(
    tmp_path: Path, use_network: Callable[..., None]
) -> None:
    use_network(network_output("a cortado", probability=0.97))
    valid = write_manifest(tmp_path / "valid.jsonl", ["a cortado"])
    figures = adapt(
        TextAdaptation(decoding=Decoding(mode="beam")),
        ORDERS,
        model=tmp_path / "m.nemo",
        valid_manifest=valid,
        folder=tmp_path,
    )
    assert (figures["mode"], figures["wer_greedy"]) == ("greedy", 0)
    assert load_decoder(tmp_path / "model.nemo", FakeNetwork.labels) is None


def test_without_tuning_the_given_weights_are_kept_and_no_speech_is_needed(tmp_path: Path) -> None:
    params = TextAdaptation(decoding=Decoding(mode="beam", alpha=0.7, beta=1.1), tuning=False)
    figures = adapt(
        params,
        ORDERS,
        model=tmp_path / "no.nemo",
        valid_manifest=tmp_path / "no.jsonl",
        folder=tmp_path,
    )
    assert (figures["alpha"], figures["beta"], figures["wer_beam"]) == (0.7, 1.1, None)
    assert set(decoding.FILES) <= {path.name for path in tmp_path.iterdir()}


def test_tuning_needs_speech_and_says_so(tmp_path: Path, use_network: Callable[..., None]) -> None:
    use_network()
    (tmp_path / "valid.jsonl").write_text("\n")
    with pytest.raises(
        ValueError, match=r"valid\.jsonl: no utterance to use .* set adaptation\.tuning to false"
    ):
        adapt(
            TextAdaptation(decoding=Decoding(mode="beam")),
            ORDERS,
            model=tmp_path,
            valid_manifest=tmp_path / "valid.jsonl",
            folder=tmp_path,
        )


def test_more_speech_than_asked_for_is_thinned_not_cut_off(tmp_path: Path) -> None:
    manifest = write_manifest(tmp_path / "valid.jsonl", [f"text {n}" for n in "abcdefgh"])
    waves, texts = text_adaptation.sample_manifest(manifest, 0.25 * 4)
    assert texts == ["text a", "text c", "text e", "text g"]
    assert len(waves) == 4


def test_rows_that_cannot_be_heard_are_left_out_and_a_cut_of_a_longer_file_is_heard(
    tmp_path: Path,
) -> None:
    manifest = write_manifest(tmp_path / "valid.jsonl", ["text a", "text b", "text c"])
    (tmp_path / "1.wav").write_bytes(b"RIFF")
    soundfile.write(
        tmp_path / "call.wav", np.concatenate([np.zeros(8000), np.full(8000, 0.5)]), 16000
    )
    for row in (
        {"offset": 0.5, "text": "text d"},
        {"audio_filepath": "gone.wav", "text": "text e"},
        {"text": None},
    ):
        manifest.write_text(
            manifest.read_text() + json.dumps({"audio_filepath": "call.wav", **row}) + "\n"
        )
    waves, texts = text_adaptation.sample_manifest(manifest, 60.0)
    assert texts == ["text a", "text c", "text d"]
    assert (len(waves[2]), round(float(waves[2].mean()), 2)) == (8000, 0.5)
    for name in ("0.wav", "2.wav", "call.wav"):
        (tmp_path / name).write_bytes(b"RIFF")
    with pytest.raises(ValueError, match=r"set adaptation\.tuning to false"):
        text_adaptation.sample_manifest(manifest, 60.0)


def test_capitals_are_no_errors(
    tmp_path: Path, use_network: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FakeNetwork, "labels", tuple(ALPHABET.upper()))
    use_network(network_output("a flat white"))
    valid = write_manifest(tmp_path / "valid.jsonl", ["A flat white."])
    figures = adapt(
        TextAdaptation(decoding=Decoding(mode="beam")),
        ORDERS,
        model=tmp_path / "m.nemo",
        valid_manifest=valid,
        folder=tmp_path,
    )
    assert (figures["mode"], figures["wer_greedy"]) == ("greedy", 0)


def test_terms_are_read_with_their_weights(tmp_path: Path) -> None:
    path = tmp_path / "terms.txt"
    path.write_text("# our products\nFlat White\t5\nZuzana Kowalska\n\nCan I get it to go?\n")
    assert read_terms(path) == [
        Text("Flat White", 5, whole=False),
        Text("Zuzana Kowalska", whole=False),
        Text("Can I get it to go?"),
    ]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"latte\tmany\n", r"terms\.txt:1: weight 'many'"),
        (b"latte\n***\n", r"terms\.txt:2: .* nothing to say"),
        (b"\xff\xfe\x00", r"terms\.txt: cannot be read"),
    ],
)
def test_a_bad_term_is_named_by_its_line(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "terms.txt").write_bytes(content)
    with pytest.raises(TermsError, match=words):
        read_terms(tmp_path / "terms.txt")


def test_simulated_voices_speak_every_text_before_one_again(tmp_path: Path) -> None:
    texts = ["a flat white please", "42 lattes!", "no sugar"]
    path = synthesize_manifest(
        texts, tmp_path / "spoken.jsonl", count=7, seed=1, telephone_share=0.5
    )
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert {row["text"] for row in rows[:3]} == {
        "a flat white please",
        "forty two lattes",
        "no sugar",
    }
    assert len(rows) == 7
    assert len({row["voice"] for row in rows}) > 3
    dull = 0
    for row in rows:
        wave, rate_hz = soundfile.read(tmp_path / row["audio_filepath"])
        assert rate_hz == 16000
        assert row["duration"] == pytest.approx(len(wave) / rate_hz)
        assert np.abs(wave).max() > 0.05
        spectrum = np.abs(np.fft.rfft(wave)) ** 2
        dull += (
            spectrum[len(spectrum) // 2 :].sum() < 1e-6 * spectrum.sum()
        )  # a telephone has nothing above 4 kHz
    assert 1 <= dull < 7


def contents(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir()}


def test_speaking_again_speaks_the_same_and_only_what_is_missing(tmp_path: Path) -> None:
    path = synthesize_manifest(["one", "two"], tmp_path / "spoken.jsonl", count=4, seed=2)
    before, lines = contents(tmp_path / "spoken"), path.read_text()
    lost, torn = list(before)[:2]
    (tmp_path / "spoken" / lost).unlink()
    (tmp_path / "spoken" / torn).write_bytes(before[torn][0][:100])  # as a power cut leaves it
    (tmp_path / "spoken" / "stale.wav").write_bytes(b"")
    synthesize_manifest(["one", "two"], path, count=4, seed=2)
    after = contents(path.with_suffix(""))
    assert {name: content for name, (content, _) in after.items()} == {
        n: c for n, (c, _) in before.items()
    }
    assert [name for name in after if after[name][1] != before[name][1]] == [lost, torn]
    assert path.read_text() == lines


def test_there_must_be_something_to_speak(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no text with a word to speak"):
        synthesize_manifest(["..."], tmp_path / "spoken.jsonl", count=3, seed=0)
