"""Brings two ways of writing the same English words together, before transcripts are compared.

`comparable` is applied to the reference and to every system's transcript alike;
docs/normalisation.md states its rules. It gives words of a-z and apostrophes: "$12.50" and "twelve
dollars and fifty cents" are the same afterwards, "thirteen" and "thirty" are not. British spellings
become American ones by the table of OpenAI's Whisper normaliser (Radford et al. 2022, appendix C),
as packaged in whisper-normalizer.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from types import MappingProxyType

from data.text import MONTHS, cardinal, normalise, year

FILLERS = frozenset(["uh", "uhh", "uhm", "um", "umm", "er", "erm", "hm", "hmm", "mm", "mmm"])
# One spelling for what is written in several ways. Keys and values are words of `normalise`, one or
# several.
VARIANTS: Mapping[str, str] = MappingProxyType(
    {
        "ok": "okay",
        "o k": "okay",
        "alright": "all right",
        "e mail": "email",
        "e mails": "emails",
        "wi fi": "wifi",
        "voice mail": "voicemail",
        "voice mails": "voicemails",
        "on line": "online",
        "log in": "login",
        "pass word": "password",
        "web site": "website",
        "web sites": "websites",
        "per cent": "percent",
        "mr": "mister",
        "mrs": "missus",
        "dr": "doctor",
        "cannot": "can not",
        "can't": "can not",
        "won't": "will not",
        "shan't": "shall not",
        "let's": "let us",
        "gonna": "going to",
        "wanna": "want to",
        "gotta": "got to",
        "gimme": "give me",
        "lemme": "let me",
        "dunno": "do not know",
        "y'all": "you all",
        "ain't": "is not",
    }
)
_IS = frozenset(
    [
        "it",
        "that",
        "this",
        "there",
        "here",
        "he",
        "she",
        "what",
        "who",
        "where",
        "when",
        "how",
        "why",
        "everything",
        "something",
        "nothing",
    ]
)
_UNITS = {name: value for value, name in enumerate(cardinal(value) for value in range(20))}
_TENS = {cardinal(value): value for value in range(20, 100, 10)}
_SCALES = {"hundred": 100, "thousand": 1000, "million": 10**6, "billion": 10**9}
_NUMBERS = {*_UNITS, *_TENS, *_SCALES}
_DIGITS = frozenset(cardinal(value) for value in range(10))
_COINS = {
    "dollar": "cent",
    "dollars": "cent",
    "euro": "cent",
    "euros": "cent",
    "pound": "pence",
    "pounds": "pence",
}
_COUNTED = "dollars?|pounds?|euros?|cents?|pence|percent|hundred|thousand|million|billion"
_DIGIT = "|".join(cardinal(value) for value in range(1, 10))
_TEEN = "|".join(cardinal(value) for value in range(10, 20))
_TWO_DIGITS = rf"(?:{_TEEN})|(?:{'|'.join(_TENS)})(?: (?:{_DIGIT}))?"
_COUNTS_NOTHING = rf"(?! (?:{_COUNTED}))"


def comparable(text: str, variants: Mapping[str, str] = VARIANTS) -> str:
    """Returns `text` in the form in which transcripts are compared. It is idempotent.

    `variants` are further spellings of the same words, from params: a centre's product names, say.
    """
    words = normalise(text).split()
    words = [word for word in words if word not in FILLERS]
    for _ in range(2):  # a variant may open the way for another rule, and the other way round
        words = _one_spelling(_expanded(_replaced(words, dict(variants))))
        words = _numbers(words)
    return " ".join(words)


def extended_variants(more: Mapping[str, str]) -> dict[str, str]:
    """Returns VARIANTS with `more` of a centre's own spellings.

    Raises ValueError for one that leads in circles.
    """
    variants = {**VARIANTS, **{normalise(key): normalise(value) for key, value in more.items()}}
    for key, value in variants.items():
        if not key or comparable(value, variants) != comparable(
            comparable(value, variants), variants
        ):
            raise ValueError(
                f"params.yaml: evaluation.spellings: {key!r} → {value!r} leads in circles."
            )
    return variants


def _replaced(words: list[str], variants: dict[str, str]) -> list[str]:
    """Returns words with each variant replaced by its one spelling, the longest variants first."""
    longest = max((len(key.split()) for key in variants), default=1)
    replaced: list[str] = []
    at = 0
    while at < len(words):
        for length in range(min(longest, len(words) - at), 0, -1):
            key = " ".join(words[at : at + length])
            if key in variants:
                replaced += variants[key].split()
                at += length
                break
        else:
            replaced.append(words[at])
            at += 1
    return replaced


def _expanded(words: list[str]) -> list[str]:
    """Returns words with contractions in full.

    's is "is" only behind words that own nothing; behind names it stays a possessive.
    """
    expanded: list[str] = []
    for word in words:
        if word.endswith("n't") and len(word) > 4:
            expanded += [word[:-3], "not"]
        elif word.endswith(("'ll", "'re", "'ve", "'d")):
            head, _, tail = word.rpartition("'")
            expanded += [head, {"ll": "will", "re": "are", "ve": "have", "d": "would"}[tail]]
        elif word == "i'm":
            expanded += ["i", "am"]
        elif word.endswith("'s") and word[:-2] in _IS:
            expanded += [word[:-2], "is"]
        else:
            expanded.append(word)
    return [word for word in expanded if word]


def _one_spelling(words: list[str]) -> list[str]:
    american = _american()
    return [american.get(word, word) for word in words]


@cache
def _american() -> Mapping[str, str]:
    from whisper_normalizer.english import EnglishSpellingNormalizer

    return dict(EnglishSpellingNormalizer().mapping)


def _numbers(words: list[str]) -> list[str]:
    """Returns words with one wording for each number.

    Without "and", "oh" as zero among digits, years in pairs, doubled digits in full.
    """
    result: list[str] = []
    at = 0
    while at < len(words):
        word, before = words[at], result[-1] if result else ""
        after = words[at + 1] if at + 1 < len(words) else ""
        later = words[at + 2] if at + 2 < len(words) else ""
        if word in ("double", "triple") and after in _DIGITS:
            result += [after] * (2 if word == "double" else 3)
            at += 2
            continue
        if word in ("oh", "o") and before in _NUMBERS and (after in _DIGITS or before in _DIGITS):
            # nineteen oh five is a year; among single digits it is a zero
            word = "zero" if before in _DIGITS else "oh"
        elif word in ("oh", "o") and after in _DIGITS and later in _DIGITS | {"oh", "o"}:
            word = "zero"
        elif word == "and" and (
            (before in _SCALES and (after in _UNITS or after in _TENS) and later not in _SCALES)
            or (
                before in _COINS
                and (after in _UNITS or after in _TENS)
                and _counts_coins(words, at + 1)
            )
        ):
            at += 1
            continue
        elif word == "a" and after in _SCALES:
            word = "one"
        elif word == "o'clock" and (
            after in ("am", "pm") or (after in ("a", "p") and later == "m")
        ):
            at += 1
            continue
        elif word in ("am", "pm") and before in _NUMBERS:
            result += [word[0], "m"]
            at += 1
            continue
        result.append(word)
        at += 1
    return _pairs(result)


def _counts_coins(words: list[str], at: int) -> bool:
    """Returns whether a number below a hundred and then cents or pence begin at `at`."""
    end = at
    while end < len(words) and end - at < 2 and (words[end] in _UNITS or words[end] in _TENS):
        end += 1
    return end < len(words) and words[end] in ("cent", "cents", "penny", "pence")


def _pairs(words: list[str]) -> list[str]:
    """Returns words in which four digits that count nothing are read in pairs, as years are.

    two thousand twenty four → twenty twenty four, one thousand nine hundred five → nineteen oh
    five, but fifteen hundred dollars → one thousand five hundred dollars. Beyond nineteen hundred
    it is always so.
    """
    text = " ".join(words)
    text = re.sub(
        rf"(?<!hundred )(?<!million )\btwo thousand ({_TWO_DIGITS})\b{_COUNTS_NOTHING}",
        r"twenty \1",
        text,
    )
    text = re.sub(
        rf"\bone thousand ({_DIGIT}) hundred(?: ({_TWO_DIGITS}|{_DIGIT}))?\b{_COUNTS_NOTHING}",
        lambda match: year(1000 + 100 * _UNITS[match[1]] + _value(match[2] or "")),
        text,
    )
    text = re.sub(rf"\b({_TEEN}) hundred(?= (?:{_COUNTED})\b)", _hundreds, text)
    text = re.sub(rf"\b((?:{'|'.join(_TENS)}) (?:{_DIGIT})) hundred\b", _hundreds, text)
    text = re.sub(
        rf"\b({MONTHS.replace('may|', '')}) ({_TWO_DIGITS}|{_DIGIT})\b{_COUNTS_NOTHING}",
        lambda match: f"{match[1]} {_ordinal_of(match[2])}",
        text,
    )
    return text.split()


def _value(words: str) -> int:
    """Returns the value of words for a number below a hundred."""
    return sum(_UNITS.get(word, 0) + _TENS.get(word, 0) for word in words.split())


def _ordinal_of(words: str) -> str:
    value = _value(words)
    return normalise(f"{value}th") if 1 <= value <= 31 else words


def _hundreds(match: re.Match[str]) -> str:
    thousand, rest = divmod(_value(match[1]), 10)
    return f"{cardinal(thousand)} thousand" + (f" {cardinal(rest)} hundred" if rest else "")
