"""Beam search: the language model and boosts correct what was nearly heard, and invent nothing."""

import numpy as np
import pytest

from data.text import ALPHABET
from evaluation.metrics.wer import corpus_wer, word_errors
from models.asr import decoding
from models.asr.decoding import BeamDecoder, Decoding, beside, decoder, save, tune
from models.asr.language import LanguageError, LanguageTraining, Text, learn
from models.asr.recognizer import _transcript

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


def said(heard, meant=None, sure=0.6, labels=LABELS):
    """Log-probabilities in which each label of `heard` has `sure` and the one of `meant` most of the rest."""
    blank = len(labels)
    rows = np.full((4 * len(heard), blank + 1), 1e-4)
    for place, (letter, other) in enumerate(zip(heard, meant or heard, strict=True)):
        rows[4 * place : 4 * place + 2, labels.index(other)] += 0.98 - sure
        rows[4 * place : 4 * place + 2, labels.index(letter)] += sure
        rows[4 * place + 2 : 4 * place + 4, blank] += 0.98
    return np.log(rows / rows.sum(1, keepdims=True)).astype(np.float32)


def greedy(log_probs):
    return _transcript(log_probs.argmax(1), np.exp(log_probs.max(1)), LABELS, STEP_S)


@pytest.fixture(scope="module")
def language(tmp_path_factory):
    path = tmp_path_factory.mktemp("language") / "language.arpa"
    learn(map(Text, ORDERS), LanguageTraining(), path)
    return path


def test_what_was_nearly_heard_becomes_what_people_say(language):
    log_probs = said("can i get a flat wgite", "can i get a flat white")
    assert greedy(log_probs).text == "can i get a flat wgite"
    assert BeamDecoder(BEAM, LABELS, language)(log_probs, STEP_S).text == "can i get a flat white"


def test_a_word_outside_the_language_model_still_comes_out(language):
    clear = said("can i get a cortado please", sure=0.97)
    assert BeamDecoder(BEAM, LABELS, language)(clear, STEP_S).text == "can i get a cortado please"


def test_words_have_their_times_as_greedy_has_them(language):
    log_probs = said("an iced latte", sure=0.95)
    ours, theirs = BeamDecoder(BEAM, LABELS, language)(log_probs, STEP_S), greedy(log_probs)
    assert [word.text for word in ours.words] == [word.text for word in theirs.words]
    for one, other in zip(ours.words, theirs.words, strict=True):
        assert one.start_s == pytest.approx(other.start_s, abs=2.1 * STEP_S)
        assert one.end_s == pytest.approx(other.end_s, abs=2.1 * STEP_S)


def test_confidence_is_lower_where_the_network_heard_otherwise(language):
    search = BeamDecoder(BEAM, LABELS, language)
    clear, corrected = (
        search(said("flat white", sure=0.97), STEP_S),
        search(said("flat wgite", "flat white"), STEP_S),
    )
    assert corrected.text == "flat white"
    assert 0 < corrected.words[1].confidence < 0.9 < clear.words[1].confidence <= 1
    assert corrected.confidence == pytest.approx(
        np.mean([word.confidence for word in corrected.words]), abs=1e-3
    )


def test_a_boost_brings_out_a_name_nobody_wrote_about(language):
    log_probs = said("a latte for zusaha", "a latte for zuzana")
    assert BeamDecoder(BEAM, LABELS, language)(log_probs, STEP_S).text != "a latte for zuzana"
    boosted = BeamDecoder(Decoding(mode="beam", boosts=("Zuzana",)), LABELS, language)
    assert boosted(log_probs, STEP_S).text == "a latte for zuzana"


@pytest.mark.parametrize("with_model", [True, False])
@pytest.mark.parametrize("text", [*ORDERS, "a susan banana"])
def test_a_boost_does_not_invent_a_name_that_was_not_said(language, text, with_model):
    boosted = Decoding(mode="beam", boosts=("Zuzana", "Anna Pless", "Latta"))
    search = BeamDecoder(boosted, LABELS, language if with_model else None)
    assert search(said(text, sure=0.9), STEP_S).text == text


def test_silence_and_nothing_have_no_words(language):
    search = BeamDecoder(BEAM, LABELS, language)
    silence = np.full((50, len(LABELS) + 1), -9, np.float32)
    silence[:, -1] = -0.01
    assert search(silence, STEP_S).text == ""
    assert search(silence, STEP_S).confidence > 0.9
    assert search(silence[:0], STEP_S).words == []


def test_word_pieces_are_joined(language):
    labels = ["<unk>", "▁an", "▁ice", "d", "▁lat", "te"]
    heard = BeamDecoder(BEAM, labels, language)(said(labels[1:], sure=0.95, labels=labels), STEP_S)
    assert heard.text == "an iced latte"
    assert all(word.confidence > 0.9 for word in heard.words)


def test_what_is_remembered_of_words_is_bounded_and_changes_nothing(language, monkeypatch):
    monkeypatch.setattr(decoding, "WORDS_KEPT", 2)
    search = BeamDecoder(BEAM, LABELS, language)
    heard = said("can i get a flat white please", sure=0.95)
    assert search(heard, STEP_S) == BeamDecoder(BEAM, LABELS, language)(heard, STEP_S)
    assert search._columns.cache_info().currsize == 2


def test_loading_says_nothing_on_stderr(language, capfd):
    BeamDecoder(BEAM, LABELS, language)
    assert capfd.readouterr().err == ""


def test_tuning_finds_weights_that_hear_better_and_the_same_ones_again(language):
    texts = ["can i get a flat white", "two espressos please", "a cortado please", "no milk"]
    heard = [said(text.replace("te", "to"), text, sure=0.96) for text in texts]

    def wrong(found):
        return corpus_wer(
            [word_errors(text, words) for text, words in zip(texts, found, strict=True)]
        )

    best, facts = tune(BEAM, LABELS, language, heard, wrong)
    assert (
        facts["wrong"]
        == min(row["wrong"] for row in facts["tried"])
        < max(row["wrong"] for row in facts["tried"])
    )
    search = BeamDecoder(best, LABELS, language)
    assert wrong([search(log_probs, STEP_S).text for log_probs in heard]) == pytest.approx(
        facts["wrong"], abs=1e-5
    )
    assert tune(BEAM, LABELS, language, heard, wrong)[0] == best


def test_a_folder_remembers_how_it_is_decoded(language):
    folder = language.parent
    assert beside(folder / "model.nemo", LABELS) is None  # nothing said: greedy
    save(folder, Decoding(mode="beam", alpha=0.9, boosts=("Zuzana",)))
    found = beside(folder / "model.nemo", LABELS)
    assert found.settings == Decoding(mode="beam", alpha=0.9, boosts=("Zuzana",))
    assert found(said("flat wgite", "flat white"), STEP_S).text == "flat white"
    save(folder, Decoding(mode="greedy"))
    assert beside(folder / "model.nemo", LABELS) is None


def test_an_unknown_mode_and_a_broken_model_are_named(language, tmp_path):
    with pytest.raises(ValueError, match="'bean' is not known"):
        decoder(Decoding(mode="bean"), LABELS, language)
    broken = tmp_path / "language.arpa"
    broken.write_bytes(language.read_bytes()[:40])
    with pytest.raises(LanguageError, match=r"language\.arpa: no ARPA"):
        BeamDecoder(BEAM, LABELS, broken)
