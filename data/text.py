"""Turns written text into spoken words: lower-case a-z and apostrophes, numbers as words."""

from __future__ import annotations

import re
import unicodedata

ALPHABET = " abcdefghijklmnopqrstuvwxyz'"

ONES = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
]
TENS = [
    "zero",
    "ten",
    "twenty",
    "thirty",
    "forty",
    "fifty",
    "sixty",
    "seventy",
    "eighty",
    "ninety",
]
_SCALES = ((10**9, "billion"), (10**6, "million"), (1000, "thousand"), (100, "hundred"))
_ORDINALS = {
    "one": "first",
    "two": "second",
    "three": "third",
    "five": "fifth",
    "eight": "eighth",
    "nine": "ninth",
    "twelve": "twelfth",
}
_SYMBOLS = {
    "&": " and ",
    "%": " percent ",
    "@": " at ",
    "+": " plus ",
    "=": " equals ",
    "#": " number ",
}
_MONEY = {"$": ("dollar", "cent"), "£": ("pound", "penny"), "€": ("euro", "cent")}
_PLURALS = {"penny": "pence"}
_CURRENCY = r"(?:dollars?|pounds?|euros?)"
_DATE = r"(?:\d{1,2}[-.]){2}(?:19|20)\d\d|(?:19|20)\d\d-\d\d-\d\d"
MONTHS = "january|february|march|april|may|june|july|august|september|october|november|december"


def normalise(text: str) -> str:
    """Returns `text` as spoken words: lower-case a-z and apostrophes, separated by single spaces.

    Apostrophes stay inside or at the end of words. Accents are dropped; numbers, ordinals,
    decimals, clock times, dates and money become words; five or more digits in a row, and
    digits behind a leading zero, are read one by one as people do with account numbers.
    Everything else is a space. Normalising twice changes nothing.
    """
    text = unicodedata.normalize(
        "NFKD", text.replace("’", "'").replace("`", "'").replace("‘", "'")
    ).lower()
    text = "".join(mark for mark in text if not unicodedata.combining(mark))
    text = re.sub(r"(?<=\d),(?=\d{3}\b)", "", _written_out(text))
    text = re.sub(r"([$£€])\s?(\d+)(?:\.(\d{1,2}))?(?!\d)", _money, text)
    text = re.sub(r"\b(\d{1,2}):(\d{2})\b", _clock, text)
    text = re.sub(r"\b(\d+)(?:st|nd|rd|th)\b", lambda match: f" {_ordinal(int(match[1]))} ", text)
    text = re.sub(
        r"(\d+)\.(\d+)", lambda match: f" {number(match[1])} point {_digits(match[2])} ", text
    )
    text = re.sub(r"\d+", lambda match: f" {number(match[0])} ", text)
    for symbol, word in _SYMBOLS.items():
        text = text.replace(symbol, word)
    words = re.sub(r"[^a-z' ]+", " ", text).split()
    words = [re.sub(r"'+", "'", word).lstrip("'") for word in words]
    words = [word if word.endswith(("s'", "n'")) else word.rstrip("'") for word in words]
    return " ".join(word for word in words if word)


def number(digits: str) -> str:
    """Returns `digits` (ASCII) as a person reads them.

    They are a number, or read one by one from five digits or a leading zero on.
    """
    if len(digits) >= 5 or (len(digits) > 1 and digits[0] == "0"):
        return _digits(digits)
    return cardinal(int(digits))


def cardinal(value: int) -> str:
    """Returns a whole number from 0 as words, without "and": 342 → three hundred forty two."""
    if value < 20:
        return ONES[value]
    if value < 100:
        return TENS[value // 10] + (f" {ONES[value % 10]}" if value % 10 else "")
    size, name = next(scale for scale in _SCALES if value >= scale[0])
    rest = value % size
    return f"{cardinal(value // size)} {name}" + (f" {cardinal(rest)}" if rest else "")


def year(value: int) -> str:
    """Returns a year as words: 1905 → nineteen oh five, 2005 → two thousand five."""
    century, rest = divmod(value, 100)
    if value // 10 == 200:
        return cardinal(value)
    if rest == 0:
        return f"{cardinal(century)} hundred"
    return f"{cardinal(century)} {'oh ' if rest < 10 else ''}{cardinal(rest)}"


def _digits(digits: str) -> str:
    return " ".join(ONES[int(digit)] for digit in digits)


def _ordinal(value: int) -> str:
    head, _, last = cardinal(value).rpartition(" ")
    last = _ORDINALS.get(last) or (last[:-1] + "ieth" if last.endswith("y") else last + "th")
    return f"{head} {last}".strip()


def _money(match: re.Match[str]) -> str:
    unit, part = _MONEY[match[1]]
    whole, fraction = int(match[2]), int((match[3] or "").ljust(2, "0"))
    coins = f"{cardinal(fraction)} {part if fraction == 1 else _PLURALS.get(part, part + 's')} "
    if fraction and not whole:
        return f" {coins}"
    return (
        f" {cardinal(whole)} {unit}{'s' if whole != 1 else ''} {f'and {coins}' if fraction else ''}"
    )


def _clock(match: re.Match[str]) -> str:
    hour, minute = int(match[1]), int(match[2])
    if minute == 0:
        return f" {cardinal(hour)} o'clock "
    return f" {cardinal(hour)} {'oh ' if minute < 10 else ''}{cardinal(minute)} "


def _written_out(text: str) -> str:
    """Writes out figures whose reading depends on their surroundings; `normalise` does the rest."""
    if not re.search(r"\d", text):
        return text
    text = text.replace("–", "-")
    text = re.sub(
        r"\b([ap])\.?\s?m\b\.?(?!')",
        lambda match: f"{match[1]}.m." if _hour(text, match) else match[0],
        text,
    )
    text = re.sub(r"(?<=\d)\s*([ap])\.m\.", r" \1 m ", text)
    text = re.sub(r"(\d{1,2}):00(?=\s+[ap] m\b)", r"\1", text)
    text = re.sub(
        r"([$£€])\s?(\d[\d,]*(?:\.\d+)?)\s?(k|m|bn|thousand|million|billion)\b", _large_money, text
    )
    text = re.sub(rf"\b(\d[\d,]*)\.(\d\d)\s+({_CURRENCY})\b", _money_behind, text)
    text = re.sub(r"(\d+)\s?[¢]", r"\1 cents", text)
    text = re.sub(
        r"\+?\(?\d{1,4}\)?(?:[-. ]\(?\d{2,4}\)?){2,}(?!\d)|\b\d{3}-\d{4}\b", _one_by_one, text
    )
    text = re.sub(rf"\b({MONTHS}) (\d{{1,2}})\b(?![\d:.,]*\d|(?:st|nd|rd|th))", _day_of_month, text)
    text = re.sub(r"\b((?:1[89]|20)\d)0'?s\b", lambda match: _decade(int(match[1]) * 10), text)
    text = re.sub(
        rf"(?<![\d$£€.,:-])(1[1-9]|20)(\d\d)(?!\d|[.,:-]\d|\s?%|\s(?:{_CURRENCY}|cents?|"
        r"percent)\b)",
        lambda match: year(int(match[0])),
        text,
    )
    return re.sub(
        r"(?<![$£€\d.])\b\d{1,3}(?:,\d{3})+\b(?!\.\d)",
        lambda match: cardinal(int(match[0].replace(",", ""))),
        text,
    )


def _hour(text: str, match: re.Match[str]) -> bool:
    return bool(re.search(r"\d\s*$", text[: match.start()]))


def _large_money(match: re.Match[str]) -> str:
    scale = {"k": "thousand", "m": "million", "bn": "billion"}.get(match[3], match[3])
    return f"{match[2].replace(',', '')} {scale} {_MONEY[match[1]][0]}s"


def _money_behind(match: re.Match[str]) -> str:
    sign = next(sign for sign, (name, _) in _MONEY.items() if match[3].startswith(name))
    return f"{sign}{match[1]}.{match[2]}"


def _one_by_one(match: re.Match[str]) -> str:
    digits = re.sub(r"\D", "", match[0])
    if re.fullmatch(_DATE, match[0]):
        return re.sub(r"\D", " ", match[0])
    if len(digits) < 7 or not re.search(r"\d{3}", match[0]):
        return match[0]
    return " " + " ".join(cardinal(int(digit)) for digit in digits) + " "


def _day_of_month(match: re.Match[str]) -> str:
    return f"{match[1]} {match[2]}th" if 1 <= int(match[2]) <= 31 else match[0]


def _decade(value: int) -> str:
    """1990 → nineteen nineties."""
    words = year(value)
    return words[:-1] + "ies" if words.endswith("y") else words + "s"
