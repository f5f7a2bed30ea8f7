"""Hashed n-grams: equal texts have equal ones, similar words share some, and corruption."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from models.reader.ngrams import corrupt_characters, make_ngrams, plain_text


def buckets(*texts: str) -> list[list[int]]:
    """The n-grams of each text: words, pairs of words, and three letters."""
    ngrams = make_ngrams(pl.Series(list(texts)), bits=20, words=(1, 2), letters=(3,))
    parts = np.split(ngrams.buckets, ngrams.offsets[1:-1])
    assert ngrams.counts.tolist() == [len(part) for part in parts]
    return [part.tolist() for part in parts]


def test_plain_text_has_no_capitals_punctuation_or_long_numbers() -> None:
    texts = pl.Series(["Hello, WORLD!", "bill 4711 of 5", None, "it\u2019s 20\u20ac"])
    assert plain_text(texts).to_list() == ["hello world", "bill # of 5", "", "it's #\u20ac"]


def test_a_text_has_the_same_ngrams_in_any_company() -> None:
    first, empty, last = buckets("cancel my plan", "", "my bill is wrong")
    assert empty == []
    assert buckets("cancel my plan") == [first]
    assert buckets("my bill is wrong", "cancel my plan") == [last, first]


def test_ngrams_are_counted_by_words_pairs_and_letters() -> None:
    # Two words, one pair; " ab", "ab " and " c ".
    assert len(buckets("ab c")[0]) == 2 + 1 + 3


def test_a_misspelled_word_shares_letters_and_another_word_none() -> None:
    right, misspelled, other = (set(grams) for grams in buckets("internet", "intermet", "cocoa"))
    assert 3 <= len(right & misspelled) < len(right)
    assert not right & other


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.4])
def test_letters_are_corrupted_at_about_the_given_rate(rate: float) -> None:
    texts = pl.Series(["abcdefghij"] * 2000)
    corrupted = corrupt_characters(texts, np.full(2000, rate), np.random.default_rng(0))
    changed = float(np.mean((corrupted != texts).to_numpy()))
    if rate == 0:
        assert corrupted.equals(texts)
    else:
        assert changed == pytest.approx(1 - (1 - rate) ** 10, abs=0.08)


def test_digits_and_other_alphabets_are_never_corrupted() -> None:
    texts = pl.Series(["1234 \u044f\u044f"])
    rates = np.full(1, 0.9)
    for seed in range(20):
        (text,) = corrupt_characters(texts, rates, np.random.default_rng(seed))
        assert set(text) <= set("1234 \u044f")
