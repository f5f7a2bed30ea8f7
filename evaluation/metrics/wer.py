"""Word and character errors of transcripts against reference texts."""

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
    """Returns the fewest word edits that turn `reference` into `hypothesis`."""
    return _errors(reference.split(), hypothesis.split())


def character_errors(reference: str, hypothesis: str) -> Errors:
    """Returns the fewest character edits, with single spaces between words."""
    return _errors(list(" ".join(reference.split())), list(" ".join(hypothesis.split())))


def corpus_wer(errors: Sequence[Errors]) -> float:
    """Returns all errors over all reference units. Raises ValueError without a reference unit."""
    units = sum(error.reference for error in errors)
    if not units:
        raise ValueError(
            f"{len(errors)} utterances hold no reference word, so there is no error rate."
        )
    return sum(error.total for error in errors) / units


def alignment(reference: str, hypothesis: str) -> list[tuple[str | None, str | None]]:
    """Returns pairs of reference and hypothesis word; None where one was inserted or deleted."""
    import kaldialign

    pairs = kaldialign.align(reference.split(), hypothesis.split(), _NOTHING)
    return [
        (None if ref == _NOTHING else ref, None if hyp == _NOTHING else hyp) for ref, hyp in pairs
    ]


def _errors(reference: list[str], hypothesis: list[str]) -> Errors:
    import kaldialign

    counts = kaldialign.edit_distance(reference, hypothesis)
    return Errors(len(reference), counts["sub"], counts["ins"], counts["del"])
