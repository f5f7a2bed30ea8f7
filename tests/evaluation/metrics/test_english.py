"""Promises of the comparable form: the tables of docs/normalisation.md, for every system the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from data.text import ALPHABET, normalise
from evaluation.metrics.english import comparable, extended_variants

DOC = (Path(__file__).resolve().parents[3] / "docs" / "normalisation.md").read_text(
    encoding="utf-8"
)


def rows(heading: str) -> list[list[str]]:
    """The cells of the table under a heading of the document."""
    part = DOC.split(f"## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in part.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


SAME, DIFFERENT = rows("What is the same"), rows("What stays different")


@pytest.mark.parametrize(("first", "second", "form"), SAME, ids=[row[0] for row in SAME])
def test_two_ways_of_writing_become_the_same(first: str, second: str, form: str) -> None:
    assert (comparable(first), comparable(second)) == (form, form)


@pytest.mark.parametrize(("first", "second", "form"), SAME, ids=[row[0] for row in SAME])
def test_transcripts_are_stored_in_words_that_say_the_same(
    first: str, second: str, form: str
) -> None:
    assert (comparable(normalise(first)), comparable(normalise(second))) == (form, form)


@pytest.mark.parametrize(("first", "second"), DIFFERENT, ids=[row[0] for row in DIFFERENT])
def test_other_words_stay_other_words(first: str, second: str) -> None:
    assert comparable(first) != comparable(second)


@pytest.mark.parametrize(
    "text", [cell for row in SAME for cell in row] + ["", "…", "I am 5", "'tis", "2/20 at 6"]
)
def test_doing_it_twice_changes_nothing_and_leaves_only_words(text: str) -> None:
    once = comparable(text)
    assert comparable(once) == once
    assert set(once) <= set(ALPHABET)
    assert once == " ".join(once.split())


@pytest.mark.parametrize(
    ("stored", "written"),
    [
        ("born in 1979", "born in nineteen seventy nine"),
        ("on April 2", "on april second"),
        ("at 10:00 am", "at 10 AM"),
        ("it costs $1,200", "it costs twelve hundred dollars"),
        ("she's here, isn't she", "she is here is not she"),
    ],
)
def test_a_reference_that_was_stored_as_words_meets_a_system_that_writes_figures(
    stored: str, written: str
) -> None:
    assert comparable(normalise(stored)) == comparable(written) == comparable(stored)


def test_words_that_are_in_order_already_are_left_alone() -> None:
    text = "i want to cancel my contract and nobody told me that it costs eighteen dollars a month"
    assert comparable(text) == text


def test_a_centre_adds_spellings_of_its_own() -> None:
    variants = extended_variants({"Key-Line": "keyline", "net flicks": "Netflix"})
    assert (
        comparable("My key line and net flicks are down", variants)
        == "my keyline and netflix are down"
    )
    assert comparable("ok", variants) == "okay"
    with pytest.raises(ValueError, match=r"evaluation.spellings: .* leads in circles"):
        extended_variants({"one": "two one"})
