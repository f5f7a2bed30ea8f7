"""An n-gram language model learnt from a centre's own texts, kept as a standard ARPA file with its facts beside it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from data.files import write_json, write_text
from data.text import normalise

BEGIN, END, UNKNOWN = "<s>", "</s>", "<unk>"
LONGEST_ORDER = 6  # of KenLM, which decoding reads it with
COMMON_LOG10 = -2.3
_NEVER = -99.0  # ARPA's log10 of zero, for <s>, which nothing predicts


@dataclass(frozen=True)
class LanguageTraining:
    """How the language model is learnt."""

    order: int = 3  # longest run of words looked at
    most_words: int = 50_000  # the vocabulary; rarer words are learnt as one, the unknown word
    most_ngrams: int = (
        400_000  # above this the rarest runs of three words and more, then of two, are dropped
    )


@dataclass(frozen=True)
class Text:
    """Something people say in this domain."""

    text: str
    weight: int = 1  # counts as if it had been said so often
    whole: bool = (
        True  # a whole utterance; False for a term or phrase that may stand anywhere in one
    )


class LanguageError(ValueError):
    """There is no language model to be had from this. The message names what and says what to do."""


def learn(
    texts: Iterable[Text], settings: LanguageTraining, path: Path, **facts: Any
) -> dict[str, Any]:
    """Learns from `texts`, writes the ARPA file `path` and, as `.json` beside it, what it returns.

    Interpolated modified Kneser-Ney (Chen & Goodman 1999, section 3) over texts as `data.text.normalise` spells them.
    Returns texts, words, vocabulary, ngrams (a count an order), settings and `facts`. Raises LanguageError for
    texts without a word, with single terms only, a weight under 1, or an order that decoding cannot take.
    """
    if not 2 <= settings.order <= LONGEST_ORDER:
        raise LanguageError(
            f"order {settings.order}: decoding takes 2 to {LONGEST_ORDER}. Set order so."
        )
    spoken, weights, whole = _spoken(texts)
    vocabulary, stream = _numbered(spoken, weights, settings.most_words)
    if not any(full or len(numbers) > 1 for full, numbers in zip(whole, stream, strict=True)):
        raise LanguageError(
            "only single terms. Give some sentences too, so that it shows what follows what."
        )
    tables = _counted(stream, np.array(weights), np.array(whole), settings.order, len(vocabulary))
    _prune(tables, settings.most_ngrams)
    _estimate(tables, len(vocabulary))
    _write_arpa(tables, vocabulary, path)
    found = {
        "texts": len(spoken),
        "words": sum(len(words) for words in spoken),
        "vocabulary": len(vocabulary) - 3,
        "ngrams": [int(table.kept.sum()) for table in tables],
        "settings": asdict(settings),
        **facts,
    }
    write_json(path.with_suffix(".json"), found)
    return found


def with_words(path: Path, terms: Sequence[str], folder: Path) -> tuple[Path, list[str]]:
    """A model that knows the words of `terms` too, and those of them to listen for.

    Unknown ones are added, as likely as the unknown word, in a copy in `folder`; `path` itself comes back where none
    is. Of a term of several words the common ones ("of", from one in two hundred on) are not listened for.
    Raises LanguageError when `path` is no ARPA file.
    """
    try:
        text = path.read_text(encoding="utf-8")
        head, rest = text.split("\n\\1-grams:\n", 1)
        block = rest.split("\n\n", 1)[0]
        known = {line.split("\t")[1]: float(line.split("\t")[0]) for line in block.split("\n")}
        unlikely = known[UNKNOWN]
    except (OSError, ValueError, IndexError, KeyError) as error:
        raise LanguageError(
            f"{path}: no ARPA language model ({type(error).__name__}). Learn it again."
        ) from error
    listened = {
        word
        for words in (normalise(term).split() for term in terms)
        for word in words
        if len(words) == 1 or known.get(word, _NEVER) < COMMON_LOG10
    }
    new = sorted(listened - set(known))
    if not new:
        return path, sorted(listened)
    head = re.sub(r"^ngram 1=\d+", f"ngram 1={len(known) + len(new)}", head, flags=re.MULTILINE)
    added = "\n".join(f"{unlikely:.6f}\t{word}\t0.000000" for word in new)
    copy = folder / path.name
    copy.write_text(f"{head}\n\\1-grams:\n{added}\n{rest}", encoding="utf-8")
    return copy, sorted(listened)


@dataclass
class _Order:
    """The distinct n-grams of one order; a row each. `context` and `suffix` are rows of the order below."""

    context: np.ndarray  # int64, the gram without its last word (0 for unigrams)
    suffix: np.ndarray  # int64, the gram without its first word (0 for unigrams)
    word: np.ndarray  # int64, its last word
    said: np.ndarray  # int64, how often it was said
    counted: np.ndarray  # int64, the count that Kneser-Ney goes by
    kept: np.ndarray  # bool
    log10: np.ndarray  # float64, of its probability behind its context
    backoff: np.ndarray  # float64, log10 of what it leaves, as a context, to the order below


def _spoken(texts: Iterable[Text]) -> tuple[list[list[str]], list[int], list[bool]]:
    spoken, weights, whole = [], [], []
    for text in texts:
        if text.weight < 1 or text.weight != int(text.weight):
            raise LanguageError(
                f"{text.text!r}: weight {text.weight}. Give a whole number from 1, or leave it out."
            )
        if words := normalise(text.text).split():
            spoken.append(words)
            weights.append(int(text.weight))
            whole.append(text.whole)
    if not spoken:
        raise LanguageError(
            "no text with a word in it. Give transcripts, messages or a list of terms."
        )
    return spoken, weights, whole


def _numbered(
    spoken: list[list[str]], weights: list[int], most: int
) -> tuple[list[str], list[np.ndarray]]:
    """The vocabulary (<unk>, <s>, </s>, then words by frequency) and the texts as numbers in it."""
    frequency: dict[str, int] = {}
    for words, weight in zip(spoken, weights, strict=True):
        for word in words:
            frequency[word] = frequency.get(word, 0) + weight
    common = sorted(frequency, key=lambda word: (-frequency[word], word))[:most]
    vocabulary = [UNKNOWN, BEGIN, END, *common]
    number = {word: place for place, word in enumerate(vocabulary)}
    return vocabulary, [
        np.array([number.get(word, 0) for word in words], np.int64) for words in spoken
    ]


def _counted(
    texts: list[np.ndarray], weights: np.ndarray, whole: np.ndarray, order: int, words: int
) -> list[_Order]:
    """Every n-gram up to `order` with its counts; a single word stands at the row of its number."""
    pieces = [
        np.concatenate(([1], text, [2])) if full else text
        for text, full in zip(texts, whole, strict=True)
    ]
    lengths = np.array([len(piece) for piece in pieces])
    stream = np.concatenate(pieces)
    weight = np.repeat(weights, lengths)
    place = np.arange(len(stream)) - np.repeat(
        np.cumsum(lengths) - lengths, lengths
    )  # within its text
    part = np.repeat(~whole, lengths)
    tables = [_order_of(np.arange(words), np.zeros(words, np.int64), stream, weight, words)]
    gram, begins = (
        stream,
        np.arange(words) == 1,
    )  # the row of the n-gram that ends at each place; does it begin a text
    for n in range(2, order + 1):
        at = np.flatnonzero(place >= n - 1)
        below = tables[-1]
        keys, first, row = np.unique(
            gram[at - 1] * words + stream[at], return_index=True, return_inverse=True
        )
        above = _order_of(keys, gram[at[first]], row, weight[at], words)
        # Below the highest order a gram counts once for each different word that it was said behind. Behind <s> there
        # is none, so such grams keep their count; before a part of an utterance something unknown may stand.
        behind = np.bincount(above.suffix, minlength=len(below.word))
        behind[np.unique(gram[part & (place == n - 2)])] += 1
        below.counted = np.where(begins, below.said, behind)
        begins = begins[above.context]
        gram = np.full(len(stream), -1, np.int64)
        gram[at] = row
        tables.append(above)
    return tables


def _order_of(
    keys: np.ndarray, suffix: np.ndarray, row: np.ndarray, weight: np.ndarray, words: int
) -> _Order:
    said = np.bincount(row, weight, len(keys)).astype(np.int64)
    nothing = np.zeros(len(keys))
    return _Order(
        keys // words, suffix, keys % words, said, said, np.ones(len(keys), bool), nothing, nothing
    )


def _prune(tables: list[_Order], most: int) -> None:
    """Drops what was said least until `most` n-grams are left: runs of three words and more first, then of two."""
    for lowest in (2, 1):
        least = 1
        while sum(int(table.kept.sum()) for table in tables) > most and any(
            t.kept.any() for t in tables[lowest:]
        ):
            least += 1
            for table in tables[lowest:]:
                table.kept = (
                    table.said >= least
                )  # what a kept run is made of was said as often, so it is kept too


def _estimate(tables: list[_Order], words: int) -> None:
    """Fills in probabilities and backoffs, from single words up; what pruning took goes to the order below."""
    below = np.full(1, 1.0 / (words - 1))  # every word but <s>
    for n, table in enumerate(tables, start=1):
        count = np.where((table.word == 1), 0.0, table.counted)  # nothing predicts <s>
        less = _discounts(count)[np.minimum(count, 3).astype(int)]
        contexts = len(tables[n - 2].word) if n > 1 else 1
        total = np.maximum(np.bincount(table.context, count, contexts), 1)
        share = np.where(table.kept, count - less, 0.0) / total[table.context]
        left = np.maximum(1.0 - np.bincount(table.context, share, contexts), 1e-9)
        below = share + left[table.context] * below[table.suffix]
        table.log10 = np.where(table.word == 1, _NEVER, np.log10(below))
        if n > 1:
            tables[n - 2].backoff = np.log10(left)


def _discounts(counts: np.ndarray) -> np.ndarray:
    """What is taken from counts of 0, 1, 2 and more; round figures where there is too little to estimate them."""
    once, twice, thrice, four = (float((counts == k).sum()) for k in (1, 2, 3, 4))
    if min(once, twice, thrice, four) > 0:
        ratio = once / (once + 2 * twice)
        found = (
            1 - 2 * ratio * twice / once,
            2 - 3 * ratio * thrice / twice,
            3 - 4 * ratio * four / thrice,
        )
        if all(0 < less < k for k, less in enumerate(found, start=1)):
            return np.array([0.0, *found])
    return np.array([0.0, 0.5, 1.0, 1.5])


def _write_arpa(tables: list[_Order], vocabulary: list[str], path: Path) -> None:
    """The format of Doug Paul's ARPA files, as SRILM's ngram-format(5) describes it."""
    tables = [table for table in tables if table.kept.any()]
    lines = [
        "\\data\\",
        *(f"ngram {n}={int(table.kept.sum())}" for n, table in enumerate(tables, start=1)),
    ]
    grams = [""]
    for n, table in enumerate(tables, start=1):
        lines += ["", f"\\{n}-grams:"]
        words = [vocabulary[word] for word in table.word]
        grams = [
            f"{grams[context]} {word}".lstrip()
            for context, word in zip(table.context, words, strict=True)
        ]
        for row in np.flatnonzero(table.kept):
            goes_on = n < len(tables) and words[row] != END
            lines.append(
                f"{table.log10[row]:.6f}\t{grams[row]}"
                + (f"\t{table.backoff[row]:.6f}" if goes_on else "")
            )
    write_text(path, "\n".join([*lines, "", "\\end\\", ""]))
