"""Trains an n-gram language model on a centre's own texts and writes it as a standard ARPA file."""

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
COMMON_LOG10 = -2.3  # log10 probability from which a word is common: one in two hundred
_NEVER = -99.0  # ARPA's log10 of zero, for <s>, which nothing predicts


@dataclass(frozen=True)
class LanguageTraining:
    """How the language model is trained."""

    order: int = 3  # longest n-gram, in words
    most_words: int = 50_000  # the vocabulary; rarer words count as one, the unknown word
    # Above this the rarest n-grams of three words and more, then of two, are dropped.
    most_ngrams: int = 400_000


@dataclass(frozen=True)
class Text:
    """Something people say in this domain."""

    text: str
    weight: int = 1  # counts as if it had been said so often
    # A whole utterance; False for a term or phrase that may stand anywhere in one.
    whole: bool = True


class LanguageError(ValueError):
    """Texts or a file give no language model. The message names what and says what to do."""


def train_language_model(
    texts: Iterable[Text], settings: LanguageTraining, path: Path, **facts: Any
) -> dict[str, Any]:
    """Trains on `texts`, writes the ARPA file `path` and returns its summary.

    It is interpolated modified Kneser-Ney smoothing (Chen & Goodman 1999, section 3) over texts as
    `data.text.normalise` spells them. The summary holds texts, words, vocabulary, ngrams (a count
    an order), settings and `facts`, and is written to the same name with `.json`. Raises
    LanguageError for texts without a word, with single terms only, a weight under 1, or an order
    that decoding cannot take.
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
    tables = _count(
        stream,
        np.array(weights),
        np.array(whole),
        order=settings.order,
        words=len(vocabulary),
    )
    _prune(tables, settings.most_ngrams)
    _estimate(tables, len(vocabulary))
    _write_arpa(tables, vocabulary, path)
    summary = {
        "texts": len(spoken),
        "words": sum(len(words) for words in spoken),
        "vocabulary": len(vocabulary) - 3,
        "ngrams": [int(table.kept.sum()) for table in tables],
        "settings": asdict(settings),
        **facts,
    }
    write_json(path.with_suffix(".json"), summary)
    return summary


def add_words(path: Path, terms: Sequence[str], folder: Path) -> tuple[Path, list[str]]:
    """Returns a language model that knows the words of `terms` too, and those of them to boost.

    Unknown ones are added, as likely as the unknown word, in a copy in `folder`; where there are
    none `path` itself is returned. Of a term of several words the common ones ("of"; see
    COMMON_LOG10) are not boosted. Raises LanguageError when `path` is no ARPA file.
    """
    try:
        text = path.read_text(encoding="utf-8")
        head, rest = text.split("\n\\1-grams:\n", 1)
        block = rest.split("\n\n", 1)[0]
        log10 = {line.split("\t")[1]: float(line.split("\t")[0]) for line in block.split("\n")}
        unknown_log10 = log10[UNKNOWN]
    except (OSError, ValueError, IndexError, KeyError) as error:
        raise LanguageError(
            f"{path}: no ARPA language model ({type(error).__name__}). Learn it again."
        ) from error
    boosted = {
        word
        for words in (normalise(term).split() for term in terms)
        for word in words
        if len(words) == 1 or log10.get(word, _NEVER) < COMMON_LOG10
    }
    new = sorted(boosted - set(log10))
    if not new:
        return path, sorted(boosted)
    head = re.sub(r"^ngram 1=\d+", f"ngram 1={len(log10) + len(new)}", head, flags=re.MULTILINE)
    added = "\n".join(f"{unknown_log10:.6f}\t{word}\t0.000000" for word in new)
    copy = folder / path.name
    copy.write_text(f"{head}\n\\1-grams:\n{added}\n{rest}", encoding="utf-8")
    return copy, sorted(boosted)


@dataclass(kw_only=True)
class _NgramTable:
    """The distinct n-grams of one order, a row each."""

    context: np.ndarray  # int64, row below of the n-gram without its last word (0 for unigrams)
    suffix: np.ndarray  # int64, row below of the n-gram without its first word (0 for unigrams)
    word: np.ndarray  # int64, its last word
    frequency: np.ndarray  # int64, how often it occurs
    count: np.ndarray  # int64, the count that Kneser-Ney goes by
    kept: np.ndarray  # bool, whether pruning left it
    log10: np.ndarray  # float64, of its probability behind its context
    backoff: np.ndarray  # float64, log10 of what it leaves, as a context, to the order below


def _spoken(texts: Iterable[Text]) -> tuple[list[list[str]], list[int], list[bool]]:
    """Words, weight and wholeness of each text that has a word."""
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
    """The vocabulary (<unk>, <s>, </s>, then words by frequency) and the texts as indices of it."""
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


def _count(
    texts: list[np.ndarray], weights: np.ndarray, whole: np.ndarray, *, order: int, words: int
) -> list[_NgramTable]:
    """Every n-gram up to `order` with its counts; the row of a single word is its index."""
    pieces = [
        np.concatenate(([1], text, [2])) if full else text
        for text, full in zip(texts, whole, strict=True)
    ]
    lengths = np.array([len(piece) for piece in pieces])
    stream = np.concatenate(pieces)
    weight = np.repeat(weights, lengths)
    # Of each word its place within its text.
    place = np.arange(len(stream)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    part = np.repeat(~whole, lengths)
    unigrams = np.arange(words)
    no_suffix = np.zeros(words, np.int64)
    tables = [_table(unigrams, no_suffix, rows=stream, weight=weight, words=words)]
    # The row of the n-gram that ends at each place, and whether an n-gram begins a text.
    gram, begins = stream, np.arange(words) == 1
    for n in range(2, order + 1):
        at = np.flatnonzero(place >= n - 1)
        below = tables[-1]
        keys, first, row = np.unique(
            gram[at - 1] * words + stream[at], return_index=True, return_inverse=True
        )
        above = _table(keys, gram[at[first]], rows=row, weight=weight[at], words=words)
        # Below the highest order an n-gram counts once for each different word before it. Before
        # <s> there is none, so such n-grams keep their frequency; before a part of an utterance
        # something unknown may stand.
        behind = np.bincount(above.suffix, minlength=len(below.word))
        behind[np.unique(gram[part & (place == n - 2)])] += 1
        below.count = np.where(begins, below.frequency, behind)
        begins = begins[above.context]
        gram = np.full(len(stream), -1, np.int64)
        gram[at] = row
        tables.append(above)
    return tables


def _table(
    keys: np.ndarray, suffix: np.ndarray, *, rows: np.ndarray, weight: np.ndarray, words: int
) -> _NgramTable:
    """The table of the n-grams `keys` (context · words + word), which occur at `rows`."""
    frequency = np.bincount(rows, weight, len(keys)).astype(np.int64)
    unset = np.zeros(len(keys))
    return _NgramTable(
        context=keys // words,
        suffix=suffix,
        word=keys % words,
        frequency=frequency,
        count=frequency,
        kept=np.ones(len(keys), bool),
        log10=unset,
        backoff=unset,
    )


def _prune(tables: list[_NgramTable], most: int) -> None:
    """Drops the rarest n-grams until `most` are left: of three or more words, then of two."""
    for lowest in (2, 1):
        least = 1
        while sum(int(table.kept.sum()) for table in tables) > most and any(
            t.kept.any() for t in tables[lowest:]
        ):
            least += 1
            for table in tables[lowest:]:
                # The parts of an n-gram are as frequent as it is, so they are kept with it.
                table.kept = table.frequency >= least


def _estimate(tables: list[_NgramTable], words: int) -> None:
    """Fills in probabilities and backoffs, from single words up.

    The probability of pruned n-grams goes to the order below.
    """
    below = np.full(1, 1.0 / (words - 1))  # every word but <s>
    for n, table in enumerate(tables, start=1):
        count = np.where((table.word == 1), 0.0, table.count)  # nothing predicts <s>
        discount = _discounts(count)[np.minimum(count, 3).astype(int)]
        contexts = len(tables[n - 2].word) if n > 1 else 1
        total = np.maximum(np.bincount(table.context, count, contexts), 1)
        share = np.where(table.kept, count - discount, 0.0) / total[table.context]
        left = np.maximum(1.0 - np.bincount(table.context, share, contexts), 1e-9)
        below = share + left[table.context] * below[table.suffix]
        table.log10 = np.where(table.word == 1, _NEVER, np.log10(below))
        if n > 1:
            tables[n - 2].backoff = np.log10(left)


def _discounts(counts: np.ndarray) -> np.ndarray:
    """Discounts of counts of 0, 1, 2 and more; fixed ones where there is too little to estimate."""
    once, twice, thrice, four = (float((counts == k).sum()) for k in (1, 2, 3, 4))
    if min(once, twice, thrice, four) > 0:
        ratio = once / (once + 2 * twice)
        estimated = (
            1 - 2 * ratio * twice / once,
            2 - 3 * ratio * thrice / twice,
            3 - 4 * ratio * four / thrice,
        )
        if all(0 < discount < k for k, discount in enumerate(estimated, start=1)):
            return np.array([0.0, *estimated])
    return np.array([0.0, 0.5, 1.0, 1.5])


def _write_arpa(tables: list[_NgramTable], vocabulary: list[str], path: Path) -> None:
    """Writes Doug Paul's ARPA format, as SRILM's ngram-format(5) describes it."""
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
            has_backoff = n < len(tables) and words[row] != END
            lines.append(
                f"{table.log10[row]:.6f}\t{grams[row]}"
                + (f"\t{table.backoff[row]:.6f}" if has_backoff else "")
            )
    write_text(path, "\n".join([*lines, "", "\\end\\", ""]))
