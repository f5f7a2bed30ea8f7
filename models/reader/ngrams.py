"""Hashed n-grams of words and letters, in one pass of numpy over all texts of any language.

Hashing needs no vocabulary, so a model built on it holds nobody's words. A word never seen still
shares its letter n-grams with words that were, as does one a recogniser misspelled (Bojanowski et
al. 2017, arXiv 1607.04606).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import polars as pl

_SPACE = ord(" ")
_LONGEST = 64  # letters of a word that enter its hash by their place
_MIX = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True)
class Ngrams:
    """The n-grams of all texts, one text after the other.

    `buckets` int64 [n-grams], and where each text begins in them, `offsets` [texts + 1].
    """

    buckets: np.ndarray
    offsets: np.ndarray

    @property
    def counts(self) -> np.ndarray:
        """Number of n-grams of each text."""
        return np.diff(self.offsets)


def plain_text(texts: pl.Series) -> pl.Series:
    """Returns texts in lower case, long numbers as #, punctuation as blanks.

    Written text then looks like a recogniser's.
    """
    return (
        texts.fill_null("")
        .str.to_lowercase()
        .str.replace_all("[’‘`]", "'")
        .str.replace_all(r"\d{2,}", "#")
        .str.replace_all(r"[^\p{L}\p{M}\d'#£$€]+", " ")
        .str.strip_chars(" ")
    )


def make_ngrams(
    texts: pl.Series, *, bits: int, words: tuple[int, ...], letters: tuple[int, ...]
) -> Ngrams:
    """Returns the n-grams of each text, hashed to 2 ** `bits` buckets.

    Texts are as `plain_text` returns them. N-grams are of `words` words, and of `letters` bytes
    within a word with a blank at either end. Equal texts give equal n-grams wherever they are in
    the list.
    """
    content, owner = _joined(texts)
    parts, owners = [], []
    for length in letters:
        hashes, at = _letter_hashes(content, owner, length)
        parts.append(hashes)
        owners.append(owner[at])
    hashes, word_owner = _word_hashes(content, owner)
    for length in words:
        if length == 1:
            parts.append(hashes)
            owners.append(word_owner)
        elif len(hashes) >= length:
            joint = hashes[: len(hashes) - length + 1].copy()
            for place in range(1, length):
                joint = _mix(
                    joint * _PLACES[place] + hashes[place : len(hashes) - length + 1 + place]
                )
            same_text = word_owner[: len(joint)] == word_owner[length - 1 :]
            parts.append(joint[same_text])
            owners.append(word_owner[: len(joint)][same_text])
    all_hashes = np.concatenate(parts) if parts else np.zeros(0, np.uint64)
    text_of = np.concatenate(owners) if owners else np.zeros(0, np.int64)
    order = np.argsort(text_of, kind="stable")
    counts = np.bincount(text_of, minlength=len(texts))
    buckets = (all_hashes[order] >> np.uint64(64 - bits)).astype(np.int64)
    return Ngrams(buckets, np.concatenate([[0], np.cumsum(counts)]))


def corrupt_characters(texts: pl.Series, rates: np.ndarray, rng: np.random.Generator) -> pl.Series:
    """Returns `texts` (plain) as a poor recogniser may write them.

    Letters are lost, changed and added, words run together or lost. `rates` [texts] is the share of
    letters that go wrong in each. Digits and letters beyond a–z stay.
    """
    content, owner = _joined(texts)
    rate = rates[owner]
    draw = rng.random(len(content))
    letter = (content >= ord("a")) & (content <= ord("z"))
    changed = letter & (draw < 0.45 * rate)
    lost = letter & (draw >= 0.45 * rate) & (draw < 0.8 * rate)
    added = letter & (draw >= 0.8 * rate) & (draw < rate)
    # Blanks between two words of one text, not those around it.
    inside = np.zeros(len(content), bool)
    inside[1:-1] = (owner[:-2] == owner[1:-1]) & (owner[2:] == owner[1:-1])
    joined = (content == _SPACE) & inside & (draw < rate)
    starts = (content == _SPACE) | np.concatenate([[True], owner[1:] != owner[:-1]])
    word = np.cumsum(starts) - 1
    gone = (rng.random(int(word[-1]) + 1 if len(word) else 0)[word] < 0.3 * rate) & (
        content != _SPACE
    )
    vowels = np.frombuffer(b"aeiou", np.uint8)
    others = np.frombuffer(b"bcdfghjklmnpqrstvwxyz", np.uint8)
    is_vowel = np.isin(content, vowels)
    other = np.where(is_vowel, rng.choice(vowels, len(content)), rng.choice(others, len(content)))
    letters = np.where(changed, other, content).astype(np.uint8)
    times = np.where(lost | joined | gone, 0, np.where(added, 2, 1))
    ends = np.searchsorted(np.repeat(owner, times), np.arange(len(texts) + 1))
    written = np.repeat(letters, times).tobytes()
    corrupted = [written[a:b].decode("utf-8", "ignore") for a, b in pairwise(ends.tolist())]
    return pl.Series(corrupted, dtype=pl.String).str.replace_all(" +", " ").str.strip_chars(" ")


def _joined(texts: pl.Series) -> tuple[np.ndarray, np.ndarray]:
    """All texts as bytes, each with a blank before and after, and the text of each byte."""
    padded = pl.select(pl.format(" {} ", texts.fill_null(""))).to_series()
    content = np.frombuffer("".join(padded.to_list()).encode(), np.uint8)
    return content, np.repeat(np.arange(len(texts)), padded.str.len_bytes().to_numpy())


def _letter_hashes(
    content: np.ndarray, owner: np.ndarray, length: int
) -> tuple[np.ndarray, np.ndarray]:
    """Hashes of runs of `length` bytes of one text, blanks at their ends only, and their places."""
    windows = len(content) - length + 1
    if windows <= 0:
        return np.zeros(0, np.uint64), np.zeros(0, np.int64)
    blank = np.concatenate([[0], np.cumsum(content == _SPACE)])
    # Number of blanks between first and last byte.
    within = blank[length - 1 : length - 1 + windows] - blank[1 : windows + 1]
    at = np.flatnonzero((within == 0) & (owner[:windows] == owner[length - 1 :]))
    hashes = np.full(len(at), np.uint64(length))
    for place in range(length):
        hashes += (content[at + place].astype(np.uint64) + np.uint64(1)) * _PLACES[place]
    return _mix(hashes), at


def _word_hashes(content: np.ndarray, owner: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A hash of each word, and its text."""
    inside = content != _SPACE
    before = np.concatenate([[False], inside[:-1]])
    starts = np.flatnonzero(inside & ~before)
    if not len(starts):
        return np.zeros(0, np.uint64), np.zeros(0, np.int64)
    place = np.arange(len(content)) - np.maximum.accumulate(
        np.where(inside & ~before, np.arange(len(content)), 0)
    )
    terms = (
        (content.astype(np.uint64) + np.uint64(1))
        * _PLACES[np.minimum(place, _LONGEST - 1)]
        * inside
    )
    return _mix(np.add.reduceat(terms, starts)), owner[starts]


def _mix(hashes: np.ndarray) -> np.ndarray:
    """Spreads differences in any bit to the high bits."""
    hashes = (hashes ^ (hashes >> np.uint64(31))) * _MIX
    return np.asarray((hashes ^ (hashes >> np.uint64(29))) * _MIX)


# Odd multipliers, one a place within a word or n-gram. They are part of the file format: trained
# weights lie at the buckets they give.
_PLACES = _mix(np.arange(1, _LONGEST + 1, dtype=np.uint64) * _MIX) | np.uint64(1)
