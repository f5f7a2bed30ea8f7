"""Counts how well critical words (amounts, negation, leaving, names) are recognised.

Two recognisers with the same word error rate differ in use when one loses every "not". Words are
looked up after `evaluation.metrics.english.comparable`, in which a number is words and "don't" is
"do not". A word is a hit when the alignment puts the same word opposite it. Recall is hits over
spoken words, precision hits over words that the recogniser wrote.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from data.text import cardinal
from evaluation.metrics.wer import alignment

_NUMBERS = [cardinal(value) for value in (*range(20), *range(20, 100, 10))]
_WORDS = {
    "amounts": (
        "hundred thousand million billion point dollar dollars cent cents percent pound pounds "
        "pence penny euro euros"
    ),
    "negation": "no not never none nothing nobody nor neither without nope hardly",
    "leaving": (
        "cancel cancels canceled canceling cancellation leave leaving terminate terminated switch "
        "switching switched competitor close closing unsubscribe quit churn refund complaint "
        "complain lawyer ombudsman"
    ),
    "names": "",  # of people and products: only the centre itself can list them
}
# The one place where the classes are declared. evaluation.critical in params.yaml adds words, and
# classes of a centre's own.
CLASSES: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        name: frozenset([*words.split(), *(_NUMBERS if name == "amounts" else ())])
        for name, words in _WORDS.items()
    }
)


@dataclass(frozen=True)
class ClassCounts:
    """Counts of one class in one transcript."""

    spoken: int  # words of the class in the reference
    written: int  # words of the class in the hypothesis
    hits: int  # both, at the same place of the alignment


def critical_words(
    reference: str, hypothesis: str, classes: Mapping[str, frozenset[str]] = CLASSES
) -> dict[str, ClassCounts]:
    """Returns the counts of each class. Both texts are in comparable form."""
    pairs = alignment(reference, hypothesis)
    return {
        name: ClassCounts(
            spoken=sum(ref in words for ref, _ in pairs),
            written=sum(hyp in words for _, hyp in pairs),
            hits=sum(ref is not None and ref == hyp and ref in words for ref, hyp in pairs),
        )
        for name, words in classes.items()
    }


def extended_classes(more: Mapping[str, list[str]] | None = None) -> dict[str, frozenset[str]]:
    """Returns CLASSES with `more` words of each; new names become classes of their own.

    Entries of several words ("blue latte") count word by word. Raises ValueError for a name that is
    no identifier, and an entry without a word.
    """
    from evaluation.metrics.english import comparable

    classes = {name: set(words) for name, words in CLASSES.items()}
    for name, entries in (more or {}).items():
        if not name.isidentifier() or isinstance(entries, str):
            raise ValueError(
                f"params.yaml: evaluation.critical.{name} must be a plain name with a list of "
                "words."
            )
        for entry in entries:
            words = comparable(str(entry)).split()
            if not words:
                raise ValueError(
                    f"params.yaml: evaluation.critical.{name}: {entry!r} holds no word."
                )
            classes.setdefault(name, set()).update(words)
    return {name: frozenset(words) for name, words in classes.items()}
