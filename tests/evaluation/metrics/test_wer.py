"""Promises of the word error rate."""

from __future__ import annotations

import pytest

from evaluation.metrics.wer import Errors, character_errors, corpus_wer, word_errors


def test_equal_texts_have_no_error_whatever_the_spaces() -> None:
    assert word_errors("cancel my  line", " cancel my line ") == Errors(3, 0, 0, 0)


@pytest.mark.parametrize(
    ("reference", "hypothesis", "errors"),
    [
        ("do not cancel", "do cancel", Errors(3, 0, 0, 1)),
        ("do cancel", "do not cancel", Errors(2, 0, 1, 0)),
        ("pay the bill", "pay a bill", Errors(3, 1, 0, 0)),
        ("", "hello there", Errors(0, 0, 2, 0)),
        ("hello there", "", Errors(2, 0, 0, 2)),
        ("one two three four", "two three for you", Errors(4, 1, 1, 1)),
    ],
)
def test_each_kind_of_error_is_counted_apart(
    reference: str, hypothesis: str, errors: Errors
) -> None:
    assert word_errors(reference, hypothesis) == errors


def test_the_corpus_rate_weighs_words_not_utterances() -> None:
    errors = [
        word_errors(
            "one two three four five six seven eight nine",
            "one two three four five six seven eight nine",
        )
    ]
    errors.append(word_errors("no", "yes"))
    assert corpus_wer(errors) == pytest.approx(1 / 10)


def test_a_rate_without_a_reference_word_is_refused() -> None:
    with pytest.raises(ValueError, match="1 utterances hold no reference word"):
        corpus_wer([word_errors("", "noise")])


def test_characters_are_counted_with_single_spaces() -> None:
    assert character_errors("pay  it", "pay at") == Errors(6, 1, 0, 0)
