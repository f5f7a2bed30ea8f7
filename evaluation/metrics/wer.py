"""Word errors of transcripts against what was said."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

_NOTHING = "\0"  # what stands opposite an inserted or deleted word; no word contains it


@dataclass(frozen=True)
class Errors:
    """How one hypothesis differs from its reference, counted in words (or characters)."""

    reference: int  # units in the reference
    substitutions: int
    insertions: int
    deletions: int

    @property
    def total(self) -> int:
        return self.substitutions + self.insertions + self.deletions


def word_errors(reference: str, hypothesis: str) -> Errors:
    """Fewest substitutions, insertions and deletions of words that turn `reference` into `hypothesis`."""
    return _errors(reference.split(), hypothesis.split())


def character_errors(reference: str, hypothesis: str) -> Errors:
    """As `word_errors`, in characters with single spaces between words."""
    return _errors(list(" ".join(reference.split())), list(" ".join(hypothesis.split())))


def corpus_wer(errors: Sequence[Errors]) -> float:
    """All errors over all reference units. Raises ValueError without a reference unit: nothing was measured."""
    units = sum(error.reference for error in errors)
    if not units:
        raise ValueError(
            f"{len(errors)} utterances hold no reference word, so there is no error rate."
        )
    return sum(error.total for error in errors) / units


def alignment(reference: str, hypothesis: str) -> list[tuple[str | None, str | None]]:
    """Word by word what was said and what was heard in its place; None where a word was deleted or inserted."""
    import kaldialign

    pairs = kaldialign.align(reference.split(), hypothesis.split(), _NOTHING)
    return [
        (None if said == _NOTHING else said, None if heard == _NOTHING else heard)
        for said, heard in pairs
    ]


def _errors(reference: list[str], hypothesis: list[str]) -> Errors:
    import kaldialign

    counts = kaldialign.edit_distance(reference, hypothesis)
    return Errors(len(reference), counts["sub"], counts["ins"], counts["del"])
