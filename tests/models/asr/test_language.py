"""The language model is exact where it can be worked out by hand, and a probability everywhere."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest

from models.asr.language import (
    LanguageError,
    LanguageTraining,
    Text,
    add_words,
    train_language_model,
)

ORDERS = [
    "can i get a latte",
    "can i get an espresso",
    "a latte with soy milk please",
    "an espresso please",
]


Probability = Callable[[Iterable[str], str], float]


def a_model(
    path: Path, texts: Sequence[str | Text] = ORDERS, **settings: int
) -> tuple[dict[str, Any], Probability, list[str]]:
    """Trains a model; returns its summary, its probability of a word behind others, and its words.

    The probability is read from the ARPA file as a decoder would.
    """
    summary = train_language_model(
        [text if isinstance(text, Text) else Text(text) for text in texts],
        LanguageTraining(**settings),
        path,
    )
    grams: dict[tuple[str, ...], tuple[float, float]] = {}
    for line in path.read_text().splitlines():
        if "\t" in line:
            fields = line.split("\t")
            grams[tuple(fields[1].split())] = (
                float(fields[0]),
                float(fields[2]) if len(fields) > 2 else 0.0,
            )

    def log10(before: tuple[str, ...], word: str) -> float:
        if (*before, word) in grams:
            return grams[(*before, word)][0]
        return (
            (grams.get(before, (0.0, 0.0))[1] + log10(before[1:], word))
            if before
            else grams[("<unk>",)][0]
        )

    words = sorted(gram[0] for gram in grams if len(gram) == 1 and gram != ("<s>",))
    return summary, lambda before, word: float(10 ** log10(tuple(before), word)), words


def test_worked_out_by_hand(tmp_path: Path) -> None:
    _, chance, _ = a_model(tmp_path / "lm.arpa", ["a b", "a c"], order=2)
    # Behind how many different words: a 1 (<s>), b 1, c 1, </s> 2; five in all. Discounts are 0.5
    # of 1 and 1 of 2, so a half is shared among five words: a tenth each.
    assert chance([], "a") == pytest.approx(0.5 / 5 + 0.1, abs=1e-5)
    assert chance([], "</s>") == pytest.approx(1 / 5 + 0.1, abs=1e-5)
    assert chance([], "never said") == pytest.approx(0.1, abs=1e-5)
    assert chance(["a"], "b") == pytest.approx(0.5 / 2 + 0.5 * 0.2, abs=1e-5)
    assert chance(["b"], "c") == pytest.approx(0.5 * 0.2, abs=1e-5)


@pytest.mark.parametrize("settings", [{}, {"order": 4}, {"most_ngrams": 25}, {"most_words": 5}])
def test_what_may_come_next_adds_up_to_one(tmp_path: Path, settings: dict[str, int]) -> None:
    texts: list[str | Text] = [
        *ORDERS,
        *ORDERS[:2],
        Text("soy latte", whole=False),
        Text("oat milk", weight=3, whole=False),
    ]
    _, chance, words = a_model(tmp_path / "lm.arpa", texts, **settings)
    for length in range(4):
        for before in itertools.product(("<s>", "a", "latte", "milk", "<unk>"), repeat=length):
            assert sum(chance(before, word) for word in words) == pytest.approx(1, abs=1e-4), before


def test_what_is_said_more_is_likelier_and_a_term_is_likely_anywhere(tmp_path: Path) -> None:
    _, plain, _ = a_model(tmp_path / "plain.arpa")
    _, heavy, _ = a_model(tmp_path / "heavy.arpa", [*ORDERS, Text("can i get a mocha", weight=9)])
    _, term, _ = a_model(tmp_path / "term.arpa", [*ORDERS, Text("flat white", whole=False)])
    assert (
        heavy(["get", "a"], "mocha")
        > heavy(["get", "a"], "latte")
        > 10 * plain(["get", "a"], "mocha")
    )
    assert term(["flat"], "white") > 10 * plain(["flat"], "white")
    assert term(["white"], "</s>") < term(["please"], "</s>")  # a term ends no utterance
    assert term(["<s>"], "flat") < term(["<s>"], "an")  # nor does it begin one


def test_a_bound_holds_and_keeps_what_was_said_most(tmp_path: Path) -> None:
    texts = [*ORDERS, *ORDERS[:1] * 4]
    summary, chance, words = a_model(tmp_path / "lm.arpa", texts, most_ngrams=30, most_words=8)
    assert sum(summary["ngrams"]) <= 30
    assert summary["vocabulary"] == len(words) - 2 == 8
    assert chance(["can", "i"], "get") > 0.5
    assert not chance([], "milk") > chance([], "<unk>")


def test_the_same_texts_leave_the_same_bytes_and_their_facts(tmp_path: Path) -> None:
    for name in ("one", "two"):
        train_language_model(
            map(Text, ORDERS), LanguageTraining(), tmp_path / name / "lm.arpa", source="orders"
        )
    assert (tmp_path / "one/lm.arpa").read_bytes() == (tmp_path / "two/lm.arpa").read_bytes()
    facts = json.loads((tmp_path / "one/lm.json").read_text())
    assert (facts["texts"], facts["words"], facts["source"]) == (4, 19, "orders")
    assert facts["ngrams"][0] == facts["vocabulary"] + 3
    assert f"ngram 2={facts['ngrams'][1]}\n" in (tmp_path / "one/lm.arpa").read_text()


def test_numbers_and_capitals_are_learnt_as_they_are_spoken(tmp_path: Path) -> None:
    _, chance, _ = a_model(tmp_path / "lm.arpa", ["Invoice 42!", "invoice fifty"])
    assert chance(["invoice"], "forty") > 0.2


@pytest.mark.parametrize(
    ("texts", "settings", "words"),
    [
        ([], {}, "no text with a word"),
        (["?!", ""], {}, "no text with a word"),
        ([Text("latte", whole=False)], {}, "only single terms"),
        ([Text("a latte", weight=0)], {}, "weight 0"),
        (["a latte"], {"order": 1}, "order 1"),
        (["a latte"], {"order": 9}, "order 9"),
    ],
)
def test_what_cannot_be_learnt_from_is_refused(
    tmp_path: Path, texts: list[str | Text], settings: dict[str, int], words: str
) -> None:
    with pytest.raises(LanguageError, match=words):
        a_model(tmp_path / "lm.arpa", texts, **settings)
    assert not list(tmp_path.iterdir())


def test_words_are_added_to_a_copy(tmp_path: Path) -> None:
    (tmp_path / "copy").mkdir()
    path = tmp_path / "lm.arpa"
    train_language_model(map(Text, ORDERS), LanguageTraining(), path)
    before = path.read_text()
    copy, boosted = add_words(path, ["Zuzanna", "the milk of Kowalski", "latte"], tmp_path / "copy")
    assert path.read_text() == before
    # "milk" is common, in a term of several words.
    assert boosted == ["kowalski", "latte", "of", "the", "zuzanna"]
    assert copy.read_text().count("\tzuzanna\t") == 1
    assert copy.read_text().count("\tlatte\t") == before.count("\tlatte\t")
    assert add_words(path, ["Latte"], tmp_path / "copy") == (path, ["latte"])


@pytest.mark.parametrize(
    "content", ["", "not an arpa file", "\\data\\\nngram 1=1\n\n\\1-grams:\n-1\ta\n"]
)
def test_what_is_no_language_model_is_named(tmp_path: Path, content: str) -> None:
    path = tmp_path / "lm.arpa"
    path.write_text(content)
    with pytest.raises(LanguageError, match=r"lm\.arpa: no ARPA language model"):
        add_words(path, ["latte"], tmp_path)
