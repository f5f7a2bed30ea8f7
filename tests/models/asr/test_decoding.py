"""Beam search: language model and boosts correct what was nearly recognised, and invent nothing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from data.text import ALPHABET
from evaluation.metrics.wer import corpus_wer, word_errors
from models.asr import decoding
from models.asr.decoding import (
    BeamDecoder,
    Decoding,
    load_decoder,
    make_decoder,
    save_settings,
    tune,
)
from models.asr.language import LanguageError, LanguageTraining, Text, train_language_model
from models.asr.recognizer import greedy_decode
from models.asr.transcript import Transcript

LABELS = list(ALPHABET)
STEP_S = 0.02
BEAM = Decoding(mode="beam")
ORDERS = [
    "can i get a flat white please",
    "a flat white with soy milk",
    "can i have an iced latte",
    "an espresso please",
    "can i get an iced mocha with whole milk",
    "two espressos and a flat white",
    "no sugar please",
]


def network_output(
    likeliest: Sequence[str],
    second: Sequence[str] | None = None,
    probability: float = 0.6,
    labels: Sequence[str] = LABELS,
) -> np.ndarray:
    """Log-probabilities [steps, labels + blank] that favour the labels of a text.

    Each label of `likeliest` has `probability`, and the one of `second` most of the rest.
    """
    blank = len(labels)
    rows = np.full((4 * len(likeliest), blank + 1), 1e-4)
    for place, (letter, other) in enumerate(zip(likeliest, second or likeliest, strict=True)):
        rows[4 * place : 4 * place + 2, labels.index(other)] += 0.98 - probability
        rows[4 * place : 4 * place + 2, labels.index(letter)] += probability
        rows[4 * place + 2 : 4 * place + 4, blank] += 0.98
    return np.asarray(np.log(rows / rows.sum(1, keepdims=True)), np.float32)


def greedy(log_probs: np.ndarray) -> Transcript:
    return greedy_decode(LABELS, log_probs, STEP_S)


@pytest.fixture(scope="module")
def language(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("language") / "language.arpa"
    train_language_model(map(Text, ORDERS), LanguageTraining(), path)
    return path


def test_what_was_nearly_recognised_becomes_what_people_say(language: Path) -> None:
    log_probs = network_output("can i get a flat wgite", "can i get a flat white")
    assert greedy(log_probs).text == "can i get a flat wgite"
    assert BeamDecoder(BEAM, LABELS, language)(log_probs, STEP_S).text == "can i get a flat white"


def test_a_word_outside_the_language_model_still_comes_out(language: Path) -> None:
    clear = network_output("can i get a cortado please", probability=0.97)
    assert BeamDecoder(BEAM, LABELS, language)(clear, STEP_S).text == "can i get a cortado please"


def test_words_have_their_times_as_greedy_has_them(language: Path) -> None:
    log_probs = network_output("an iced latte", probability=0.95)
    beam, best_path = BeamDecoder(BEAM, LABELS, language)(log_probs, STEP_S), greedy(log_probs)
    assert [word.text for word in beam.words] == [word.text for word in best_path.words]
    for word, expected in zip(beam.words, best_path.words, strict=True):
        assert word.start_s == pytest.approx(expected.start_s, abs=2.1 * STEP_S)
        assert word.end_s == pytest.approx(expected.end_s, abs=2.1 * STEP_S)


def test_confidence_is_lower_where_the_network_favoured_another_word(language: Path) -> None:
    search = BeamDecoder(BEAM, LABELS, language)
    clear, corrected = (
        search(network_output("flat white", probability=0.97), STEP_S),
        search(network_output("flat wgite", "flat white"), STEP_S),
    )
    assert corrected.text == "flat white"
    assert 0 < corrected.words[1].confidence < 0.9 < clear.words[1].confidence <= 1
    assert corrected.confidence == pytest.approx(
        np.mean([word.confidence for word in corrected.words]), abs=1e-3
    )


def test_a_boost_brings_out_a_name_nobody_wrote_about(language: Path) -> None:
    log_probs = network_output("a latte for zusaha", "a latte for zuzana")
    assert BeamDecoder(BEAM, LABELS, language)(log_probs, STEP_S).text != "a latte for zuzana"
    boosted = BeamDecoder(Decoding(mode="beam", boosts=("Zuzana",)), LABELS, language)
    assert boosted(log_probs, STEP_S).text == "a latte for zuzana"


@pytest.mark.parametrize("with_model", [True, False])
@pytest.mark.parametrize("text", [*ORDERS, "a susan banana"])
def test_a_boost_does_not_invent_a_name_that_was_not_said(
    language: Path, text: str, with_model: bool
) -> None:
    boosted = Decoding(mode="beam", boosts=("Zuzana", "Anna Pless", "Latta"))
    search = BeamDecoder(boosted, LABELS, language if with_model else None)
    assert search(network_output(text, probability=0.9), STEP_S).text == text


def test_silence_and_nothing_have_no_words(language: Path) -> None:
    search = BeamDecoder(BEAM, LABELS, language)
    silence = np.full((50, len(LABELS) + 1), -9, np.float32)
    silence[:, -1] = -0.01
    assert search(silence, STEP_S).text == ""
    assert search(silence, STEP_S).confidence > 0.9
    assert search(silence[:0], STEP_S).words == []


def test_word_pieces_are_joined(language: Path) -> None:
    labels = ["<unk>", "▁an", "▁ice", "d", "▁lat", "te"]
    log_probs = network_output(labels[1:], probability=0.95, labels=labels)
    transcript = BeamDecoder(BEAM, labels, language)(log_probs, STEP_S)
    assert transcript.text == "an iced latte"
    assert all(word.confidence > 0.9 for word in transcript.words)


def test_what_is_remembered_of_words_is_bounded_and_changes_nothing(
    language: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoding, "WORDS_KEPT", 2)
    search = BeamDecoder(BEAM, LABELS, language)
    output = network_output("can i get a flat white please", probability=0.95)
    assert search(output, STEP_S) == BeamDecoder(BEAM, LABELS, language)(output, STEP_S)
    assert search._columns.cache_info().currsize == 2


def test_loading_says_nothing_on_stderr(language: Path, capfd: pytest.CaptureFixture[str]) -> None:
    BeamDecoder(BEAM, LABELS, language)
    assert capfd.readouterr().err == ""


def test_tuning_finds_weights_with_fewer_errors_and_the_same_ones_again(language: Path) -> None:
    texts = ["can i get a flat white", "two espressos please", "a cortado please", "no milk"]
    outputs = [network_output(text.replace("te", "to"), text, probability=0.96) for text in texts]

    def error_rate(decoded: list[str]) -> float:
        pairs = zip(texts, decoded, strict=True)
        return corpus_wer([word_errors(text, words) for text, words in pairs])

    best, facts = tune(BEAM, LABELS, language, log_probs=outputs, error_rate=error_rate)
    assert (
        facts["wrong"]
        == min(row["wrong"] for row in facts["tried"])
        < max(row["wrong"] for row in facts["tried"])
    )
    search = BeamDecoder(best, LABELS, language)
    decoded = [search(log_probs, STEP_S).text for log_probs in outputs]
    assert error_rate(decoded) == pytest.approx(facts["wrong"], abs=1e-5)
    assert tune(BEAM, LABELS, language, log_probs=outputs, error_rate=error_rate)[0] == best


def test_a_folder_remembers_how_it_is_decoded(language: Path) -> None:
    folder = language.parent
    assert load_decoder(folder / "model.nemo", LABELS) is None  # nothing said: greedy
    save_settings(folder, Decoding(mode="beam", alpha=0.9, boosts=("Zuzana",)))
    decoder = load_decoder(folder / "model.nemo", LABELS)
    assert decoder is not None
    assert decoder.settings == Decoding(mode="beam", alpha=0.9, boosts=("Zuzana",))
    assert decoder(network_output("flat wgite", "flat white"), STEP_S).text == "flat white"
    save_settings(folder, Decoding(mode="greedy"))
    assert load_decoder(folder / "model.nemo", LABELS) is None


def test_an_unknown_mode_and_a_broken_model_are_named(language: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'bean' is not known"):
        make_decoder(Decoding(mode="bean"), LABELS, language)
    broken = tmp_path / "language.arpa"
    broken.write_bytes(language.read_bytes()[:40])
    with pytest.raises(LanguageError, match=r"language\.arpa: no ARPA"):
        BeamDecoder(BEAM, LABELS, broken)
