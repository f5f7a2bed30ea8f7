"""Formats numbers, times and word differences for people."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime

NOTHING = "–"
_GAP = "*"  # no word: transcripts are a-z and apostrophe


def count(value: float | None) -> str:
    """Returns a whole number with thin spaces between thousands."""
    return NOTHING if value is None else f"{value:,.0f}".replace(",", "\u202f")


def share(value: float | None, digits: int = 1) -> str:
    """Returns a share of 1 as per cent; one that would round to 0 is written as below."""
    if value is None:
        return NOTHING
    if 0 < value < 0.5 * 10 ** -(digits + 2):
        return f"<\u00a0{10**-digits:.{digits}f}\u00a0%"
    # Adding 0 turns the minus zero that is left of a small negative share into zero.
    return f"{round(100 * value, digits) + 0:.{digits}f}\u00a0%".replace("-", "−")


def plain(value: float | None, digits: int = 3) -> str:
    """Returns a figure with a fixed number of decimals and a real minus sign."""
    return NOTHING if value is None else f"{value:.{digits}f}".replace("-", "−")


def signed(value: float | None, digits: int = 3) -> str:
    """Returns a difference with its sign."""
    return NOTHING if value is None else f"{value:+.{digits}f}".replace("-", "−")


def duration(seconds: float | None) -> str:
    """Returns seconds in the unit that fits: 41 s, 3 min 20 s, 5 h 12 min, 311 h."""
    if seconds is None:
        return NOTHING
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s" if whole % 60 else f"{whole // 60} min"
    minutes = round(seconds / 60)
    if minutes < 100 * 60:
        return f"{minutes // 60} h {minutes % 60} min" if minutes % 60 else f"{minutes // 60} h"
    return f"{count(seconds / 3600)} h"


def clock(seconds: float | None) -> str:
    """Returns a moment in a recording: 0:07, 12:40, 1:02:03."""
    if seconds is None:
        return ""
    whole = int(seconds)
    head = f"{whole // 3600}:{whole // 60 % 60:02d}" if whole >= 3600 else f"{whole // 60}"
    return f"{head}:{whole % 60:02d}"


def day(value: date | datetime | str | None) -> str:
    """Returns a date as 4 March 2026, and text that is no date unchanged."""
    when = _date(value) if isinstance(value, str) else value
    return f"{when.day} {when:%B %Y}" if when else str(value or NOTHING)


def moment(value: datetime | str | None) -> str:
    """Returns a time as 4 March 2026, 14:05 UTC, and text that is no date unchanged."""
    when = _date(value) if isinstance(value, str) else value
    return f"{day(when)}, {when:%H:%M} UTC" if when else str(value or NOTHING)


def _date(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None


def size(size_bytes: float | None) -> str:
    """Returns bytes as kB, MB or GB (powers of 1000)."""
    if size_bytes is None:
        return NOTHING
    for unit, step in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size_bytes >= step:
            return f"{size_bytes / step:.1f} {unit}"
    return f"{size_bytes:.0f} bytes"


def listing(parts: Sequence[str]) -> str:
    """Returns parts as a list in prose: a, b and c."""
    if len(parts) < 2:
        return "".join(parts)
    return f"{', '.join(parts[:-1])} and {parts[-1]}"


def several(number: int, singular: str, plural: str | None = None) -> str:
    """Returns a number with its noun: 1 call, 3 calls."""
    return f"{count(number)} {singular if number == 1 else plural or singular + 's'}"


def title(name: str) -> str:
    """Returns an identifier as words: ivr_dead_end → ivr dead end."""
    return name.replace("_", " ").strip()


def sentence(text: str) -> str:
    """Returns text with a capital letter at the start."""
    return text[:1].upper() + text[1:]


def channel(name: str) -> str:
    """Returns a channel as people write it."""
    return {"phone": "Call", "ivr": "Menu", "email": "E-mail"}.get(name) or sentence(title(name))


def figure(value: float) -> str:
    """Returns a number of unknown size: whole numbers as they are, others with four decimals."""
    return count(value) if value == int(value) and abs(value) >= 1 else plain(value, 4)


@dataclass(frozen=True)
class Word:
    """One word of a transcript.

    `status` is right, sub (recognised instead of `meant`), extra or missed.
    """

    text: str
    status: str
    meant: str = ""


def word_differences(reference: str, hypothesis: str) -> list[Word]:
    """Returns `hypothesis` word by word against `reference`.

    Words that were spoken and not recognised stand where they belong.
    """
    import kaldialign

    words = []
    for meant, recognised in kaldialign.align(reference.split(), hypothesis.split(), _GAP):
        if recognised == _GAP:
            words.append(Word(meant, "missed"))
        elif meant == _GAP:
            words.append(Word(recognised, "extra"))
        else:
            words.append(
                Word(recognised, "right") if meant == recognised else Word(recognised, "sub", meant)
            )
    return words
