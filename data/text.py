"""Turns written text into what a voice says: lower-case a-z and apostrophes, numbers as words."""

from __future__ import annotations

import re
import unicodedata

ALPHABET = " abcdefghijklmnopqrstuvwxyz'"

_ONES = [
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
]  # fmt: skip
_TENS = ["zero", "ten", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
_SCALES = ((10**9, "billion"), (10**6, "million"), (1000, "thousand"), (100, "hundred"))
_ORDINALS = {
    "one": "first", "two": "second", "three": "third", "five": "fifth", "eight": "eighth", "nine": "ninth",
    "twelve": "twelfth",
}  # fmt: skip
_SYMBOLS = {"&": " and ", "%": " percent ", "@": " at ", "+": " plus ", "=": " equals ", "#": " number "}
_MONEY = {"$": ("dollar", "cent"), "£": ("pound", "penny"), "€": ("euro", "cent")}
_PLURALS = {"penny": "pence"}


def normalise(text: str) -> str:
    """`text` as spoken words: lower case, only a-z, apostrophes inside or at the end of words, single spaces.

    Accents are dropped; numbers, ordinals, decimals, clock times and money become words; five or more digits in a
    row, and digits behind a leading zero, are read one by one as people do with account numbers. Everything else
    is a space. Normalising twice changes nothing.
    """
    text = unicodedata.normalize("NFKD", text.replace("’", "'").replace("`", "'").replace("‘", "'")).lower()
    text = "".join(mark for mark in text if not unicodedata.combining(mark))
    text = re.sub(r"(?<=\d),(?=\d{3}\b)", "", text)
    text = re.sub(r"([$£€])\s?(\d+)(?:\.(\d{2}))?(?!\d)", _money, text)
    text = re.sub(r"\b(\d{1,2}):(\d{2})\b", _clock, text)
    text = re.sub(r"\b(\d+)(?:st|nd|rd|th)\b", lambda found: f" {_ordinal(int(found[1]))} ", text)
    text = re.sub(r"(\d+)\.(\d+)", lambda found: f" {number(found[1])} point {_digits(found[2])} ", text)
    text = re.sub(r"\d+", lambda found: f" {number(found[0])} ", text)
    for symbol, word in _SYMBOLS.items():
        text = text.replace(symbol, word)
    words = re.sub(r"[^a-z' ]+", " ", text).split()
    words = [re.sub(r"'+", "'", word).lstrip("'") for word in words]
    words = [word if word.endswith(("s'", "n'")) else word.rstrip("'") for word in words]
    return " ".join(word for word in words if word)


def number(digits: str) -> str:
    """How a person reads `digits` (ASCII): a number, or one by one from five digits or a leading zero on."""
    if len(digits) >= 5 or (len(digits) > 1 and digits[0] == "0"):
        return _digits(digits)
    return cardinal(int(digits))


def cardinal(value: int) -> str:
    """A whole number from 0 as words, without "and": 342 → three hundred forty two."""
    if value < 20:
        return _ONES[value]
    if value < 100:
        return _TENS[value // 10] + (f" {_ONES[value % 10]}" if value % 10 else "")
    size, name = next(scale for scale in _SCALES if value >= scale[0])
    rest = value % size
    return f"{cardinal(value // size)} {name}" + (f" {cardinal(rest)}" if rest else "")


def _digits(digits: str) -> str:
    return " ".join(_ONES[int(digit)] for digit in digits)


def _ordinal(value: int) -> str:
    head, _, last = cardinal(value).rpartition(" ")
    last = _ORDINALS.get(last) or (last[:-1] + "ieth" if last.endswith("y") else last + "th")
    return f"{head} {last}".strip()


def _money(found: re.Match[str]) -> str:
    unit, part = _MONEY[found[1]]
    whole, fraction = int(found[2]), int(found[3] or 0)
    spoken = f" {cardinal(whole)} {unit}{'s' if whole != 1 else ''} "
    if fraction:
        spoken += f"and {cardinal(fraction)} {part if fraction == 1 else _PLURALS.get(part, part + 's')} "
    return spoken


def _clock(found: re.Match[str]) -> str:
    hour, minute = int(found[1]), int(found[2])
    if minute == 0:
        return f" {cardinal(hour)} o'clock "
    return f" {cardinal(hour)} {'oh ' if minute < 10 else ''}{cardinal(minute)} "
