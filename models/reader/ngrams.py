"""Turns text into hashed word and letter n-grams, fast: one pass of numpy over all texts, whatever their language.

Hashing needs no vocabulary, so a model built on it holds nobody's words, and a word never seen still shares its letter
n-grams with words that were, as does one a recogniser misspelled (Bojanowski et al. 2017, arXiv 1607.04606).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import polars as pl

_SPACE = ord(" ")
_LONGEST = 64  # letters of a word that tell it from others
_MIX = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True)
class Grams:
    """`buckets` [n-grams] of all texts one after the other, and where each text begins in it, `offsets` [texts + 1]."""

    buckets: np.ndarray
    offsets: np.ndarray

    @property
    def counts(self) -> np.ndarray:
        """n-grams of each text."""
        return np.diff(self.offsets)


def plain(texts: pl.Series) -> pl.Series:
    """Lower case, long numbers as #, punctuation as blanks: what was written looks like what was heard."""
    return (
        texts.fill_null("")
        .str.to_lowercase()
        .str.replace_all("[’‘`]", "'")
        .str.replace_all(r"\d{2,}", "#")
        .str.replace_all(r"[^\p{L}\p{M}\d'#£$€]+", " ")
        .str.strip_chars(" ")
    )


def grams(texts: pl.Series, bits: int, words: tuple[int, ...], letters: tuple[int, ...]) -> Grams:
    """The n-grams of each text (as `plain` leaves it): runs of `words` words, and of `letters` bytes within a word.

    A word is taken with a blank at either end. Equal texts give equal n-grams wherever they stand.
    """
    content, owner = _joined(texts)
    found, owners = [], []
    for length in letters:
        hashes, at = _of_letters(content, owner, length)
        found.append(hashes)
        owners.append(owner[at])
    hashes, word_owner = _of_words(content, owner)
    for length in words:
        if length == 1:
            found.append(hashes)
            owners.append(word_owner)
        elif len(hashes) >= length:
            together = hashes[: len(hashes) - length + 1].copy()
            for place in range(1, length):
                together = _mixed(
                    together * _PLACES[place] + hashes[place : len(hashes) - length + 1 + place]
                )
            same = word_owner[: len(together)] == word_owner[length - 1 :]
            found.append(together[same])
            owners.append(word_owner[: len(together)][same])
    every = np.concatenate(found) if found else np.zeros(0, np.uint64)
    of = np.concatenate(owners) if owners else np.zeros(0, np.int64)
    order = np.argsort(of, kind="stable")
    counts = np.bincount(of, minlength=len(texts))
    buckets = (every[order] >> np.uint64(64 - bits)).astype(np.int64)
    return Grams(buckets, np.concatenate([[0], np.cumsum(counts)]))


def corrupt_characters(texts: pl.Series, rates: np.ndarray, rng: np.random.Generator) -> pl.Series:
    """`texts` (plain) as a poor recogniser may write them: letters lost, changed and added, words run together or lost.

    `rates` [texts] is the share of letters that go wrong in each. Digits and letters beyond a–z stay.
    """
    content, owner = _joined(texts)
    rate = rates[owner]
    draw = rng.random(len(content))
    letter = (content >= ord("a")) & (content <= ord("z"))
    changed = letter & (draw < 0.45 * rate)
    lost = letter & (draw >= 0.45 * rate) & (draw < 0.8 * rate)
    added = letter & (draw >= 0.8 * rate) & (draw < rate)
    inside = np.zeros(
        len(content), bool
    )  # blanks between two words of one text, not those around it
    inside[1:-1] = (owner[:-2] == owner[1:-1]) & (owner[2:] == owner[1:-1])
    joined = (content == _SPACE) & inside & (draw < rate)
    starts = (content == _SPACE) | np.concatenate([[True], owner[1:] != owner[:-1]])
    word = np.cumsum(starts) - 1
    gone = (rng.random(int(word[-1]) + 1 if len(word) else 0)[word] < 0.3 * rate) & (
        content != _SPACE
    )
    vowels = np.frombuffer(b"aeiou", np.uint8)
    others = np.frombuffer(b"bcdfghjklmnpqrstvwxyz", np.uint8)
    kind = np.isin(content, vowels)
    other = np.where(kind, rng.choice(vowels, len(content)), rng.choice(others, len(content)))
    heard = np.where(changed, other, content).astype(np.uint8)
    times = np.where(lost | joined | gone, 0, np.where(added, 2, 1))
    out, of = np.repeat(heard, times), np.repeat(owner, times)
    ends = np.searchsorted(of, np.arange(len(texts) + 1))
    whole = out.tobytes()
    said = [whole[a:b].decode("utf-8", "ignore") for a, b in pairwise(ends.tolist())]
    return pl.Series(said, dtype=pl.String).str.replace_all(" +", " ").str.strip_chars(" ")


def _joined(texts: pl.Series) -> tuple[np.ndarray, np.ndarray]:
    """All texts as bytes, each with a blank before and after, and which text each byte is of."""
    padded = pl.select(pl.format(" {} ", texts.fill_null(""))).to_series()
    content = np.frombuffer("".join(padded.to_list()).encode(), np.uint8)
    return content, np.repeat(np.arange(len(texts)), padded.str.len_bytes().to_numpy())


def _of_letters(
    content: np.ndarray, owner: np.ndarray, length: int
) -> tuple[np.ndarray, np.ndarray]:
    """Hashes of runs of `length` bytes of one text with blanks at their ends only, and where they begin."""
    windows = len(content) - length + 1
    if windows <= 0:
        return np.zeros(0, np.uint64), np.zeros(0, np.int64)
    blank = np.concatenate([[0], np.cumsum(content == _SPACE)])
    within = (
        blank[length - 1 : length - 1 + windows] - blank[1 : windows + 1]
    )  # blanks between first and last byte
    at = np.flatnonzero((within == 0) & (owner[:windows] == owner[length - 1 :]))
    hashes = np.full(len(at), np.uint64(length))
    for place in range(length):
        hashes += (content[at + place].astype(np.uint64) + np.uint64(1)) * _PLACES[place]
    return _mixed(hashes), at


def _of_words(content: np.ndarray, owner: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A hash of each word, and the text it is of."""
    inside = content != _SPACE
    before = np.concatenate([[False], inside[:-1]])
    starts = np.flatnonzero(inside & ~before)
    if not len(starts):
        return np.zeros(0, np.uint64), np.zeros(0, np.int64)
    place = np.arange(len(content)) - np.maximum.accumulate(
        np.where(inside & ~before, np.arange(len(content)), 0)
    )
    worth = (
        (content.astype(np.uint64) + np.uint64(1))
        * _PLACES[np.minimum(place, _LONGEST - 1)]
        * inside
    )
    return _mixed(np.add.reduceat(worth, starts)), owner[starts]


def _mixed(hashes: np.ndarray) -> np.ndarray:
    """Spreads what differs anywhere to the high bits."""
    hashes = (hashes ^ (hashes >> np.uint64(31))) * _MIX
    return (hashes ^ (hashes >> np.uint64(29))) * _MIX


# Odd multipliers, one a place within a word or n-gram. Part of the format: trained weights lie where they point.
_PLACES = _mixed(np.arange(1, _LONGEST + 1, dtype=np.uint64) * _MIX) | np.uint64(1)
