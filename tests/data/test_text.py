"""Tests the spoken form of texts."""

from __future__ import annotations

import pytest

from data.text import ALPHABET, normalise


@pytest.mark.parametrize(
    ("written", "spoken"),
    [
        ("Hello, World!", "hello world"),
        ("I’d LIKE to—cancel…", "i'd like to cancel"),
        ("'quoted' text, customers' choice", "quoted text customers' choice"),
        ("café naïve", "cafe naive"),
        ("it costs $12.50", "it costs twelve dollars and fifty cents"),
        ("£1.01 or €1", "one pound and one penny or one euro"),
        ("1,234 calls", "one thousand two hundred thirty four calls"),
        ("account 0047", "account zero zero four seven"),
        ("number 48213", "number four eight two one three"),
        ("the 21st at 10:05", "the twenty first at ten oh five"),
        ("at 9:00", "at nine o'clock"),
        ("7.5%", "seven point five percent"),
        ("$0.50, $12.5 or 50¢", "fifty cents twelve dollars and fifty cents or fifty cents"),
        ("$5 million or £20k", "five million dollars or twenty thousand pounds"),
        ("10,000 calls in 1999", "ten thousand calls in nineteen ninety nine"),
        ("card 4111 1111 1111 1111", f"card four{' one' * 15}"),
        ("5:30 p.m. on May 5", "five thirty p m on may fifth"),
        (
            "5.12.1979 or 2024-11-22",
            "five twelve nineteen seventy nine or twenty twenty four eleven twenty two",
        ),
        ("10 20 30 40", "ten twenty thirty forty"),
        ("R&D", "r and d"),
        ("…", ""),
        ("", ""),
    ],
)
def test_written_text_becomes_what_is_said(written: str, spoken: str) -> None:
    assert normalise(written) == spoken


@pytest.mark.parametrize(
    "text", ["$3.07 & 50% @ 12:30", "rock 'n' roll", "don''t", "日本 ١٢", "a\tb\nc", "x²½"]
)
def test_normalising_twice_changes_nothing_and_leaves_only_the_alphabet(text: str) -> None:
    once = normalise(text)
    assert normalise(once) == once
    assert set(once) <= set(ALPHABET)
