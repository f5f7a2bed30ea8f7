"""Words that change what a call means: were the amounts, the negations, the names and the "cancel" heard?

Two recognisers with the same word error rate differ in use when one loses every "not". Words are looked up after
`evaluation.metrics.english.comparable`, in which a number is words and "don't" is "do not". A word counts as heard when
the alignment puts the same word opposite it; recall is heard over said, precision heard over written by the recogniser.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from data.text import cardinal
from evaluation.metrics.wer import alignment

_NUMBERS = frozenset(
    [cardinal(value) for value in (*range(20), *range(20, 100, 10))]
    + [
        "hundred",
        "thousand",
        "million",
        "billion",
        "point",
        "dollar",
        "dollars",
        "cent",
        "cents",
        "percent",
    ]
    + ["pound", "pounds", "pence", "penny", "euro", "euros"]
)
# The one place where the classes are declared; params' evaluation.critical adds words and classes of a centre's own.
CLASSES: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "amounts": _NUMBERS,
        "negation": frozenset(
            [
                "no",
                "not",
                "never",
                "none",
                "nothing",
                "nobody",
                "nor",
                "neither",
                "without",
                "nope",
                "hardly",
            ]
        ),
        "leaving": frozenset(
            [
                "cancel",
                "cancels",
                "canceled",
                "canceling",
                "cancellation",
                "leave",
                "leaving",
                "terminate",
                "terminated",
                "switch",
                "switching",
                "switched",
                "competitor",
                "close",
                "closing",
                "unsubscribe",
                "quit",
                "churn",
                "refund",
                "complaint",
                "complain",
                "lawyer",
                "ombudsman",
            ]
        ),
        "names": frozenset[
            str
        ](),  # of people and products: nobody can list them but the centre itself
    }
)


@dataclass(frozen=True)
class Heard:
    """Of one class in one transcript: how often its words were said, written, and both in the same place."""

    said: int
    written: int
    hits: int


def critical_words(
    reference: str, hypothesis: str, classes: Mapping[str, frozenset[str]] = CLASSES
) -> dict[str, Heard]:
    """Counts of each class. Both texts in comparable form (lower case, a-z, single spaces)."""
    pairs = alignment(reference, hypothesis)
    return {
        name: Heard(
            said=sum(said in words for said, _ in pairs),
            written=sum(heard in words for _, heard in pairs),
            hits=sum(said is not None and said == heard and said in words for said, heard in pairs),
        )
        for name, words in classes.items()
    }


def classes_with(more: Mapping[str, list[str]] | None = None) -> dict[str, frozenset[str]]:
    """The classes above with `more` words of each; names that are not there become classes of their own.

    Entries of several words ("blue latte") count word by word. Raises ValueError for a name or word that is none.
    """
    from evaluation.metrics.english import comparable

    classes = {name: set(words) for name, words in CLASSES.items()}
    for name, entries in (more or {}).items():
        if not name.isidentifier() or isinstance(entries, str):
            raise ValueError(
                f"params.yaml: evaluation.critical.{name} must be a plain name with a list of words."
            )
        for entry in entries:
            words = comparable(str(entry)).split()
            if not words:
                raise ValueError(
                    f"params.yaml: evaluation.critical.{name}: {entry!r} holds no word."
                )
            classes.setdefault(name, set()).update(words)
    return {name: frozenset(words) for name, words in classes.items()}
