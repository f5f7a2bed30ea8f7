"""Figures, times and differences as people read them."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest

from evaluation.report.charts import axis_ticks
from evaluation.report.clips import clip_start_s
from evaluation.report.formatting import (
    clock,
    count,
    day,
    duration,
    listing,
    moment,
    several,
    share,
    word_differences,
)


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (None, "–"),
        (7.25, "7.2 s"),
        (41, "41 s"),
        (59.7, "1 min"),
        (200, "3 min 20 s"),
        (3599.6, "1 h"),
        (18720, "5 h 12 min"),
        (1_119_600, "311 h"),
    ],
)
def test_a_duration_has_the_unit_that_fits(seconds: float | None, shown: str) -> None:
    assert duration(seconds) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.1234, "12.3 %"),
        (0.0, "0.0 %"),
        (0.0001, "< 0.1 %"),
        (-0.84, "−84.0 %"),
        (-0.0001, "0.0 %"),
        (None, "–"),
    ],
)
def test_a_share_is_per_cent_and_hides_nothing(value: float | None, shown: str) -> None:
    assert share(value).replace("\u00a0", " ") == shown


def test_numbers_dates_and_lists_read_like_prose() -> None:
    assert count(12345) == "12\u202f345"
    assert day(date(2026, 7, 1)) == "1 July 2026"
    assert day("no date") == "no date"
    assert moment(datetime(2026, 7, 1, 6, 5, tzinfo=UTC)) == "1 July 2026, 06:05 UTC"
    assert (clock(7), clock(760), clock(3723), clock(None)) == ("0:07", "12:40", "1:02:03", "")
    assert listing(["a", "b", "c"]) == "a, b and c"
    assert (several(1, "call"), several(2, "call")) == ("1 call", "2 calls")


def test_differences_tell_wrong_missed_and_extra_words_apart() -> None:
    words = word_differences("i want to cancel my plan now", "i want cancel the plan now please")
    statuses = {word.text: word.status for word in words}
    assert statuses == {
        "i": "right",
        "want": "right",
        "to": "missed",
        "cancel": "right",
        "the": "sub",
        "plan": "right",
        "now": "right",
        "please": "extra",
    }
    assert next(word.meant for word in words if word.status == "sub") == "my"


def test_an_axis_has_few_round_ticks_and_covers_everything() -> None:
    for end in (0.013, 0.06, 0.47, 0.9, 1.2, 7.0):
        ticks = axis_ticks(0.0, end)
        assert ticks[0] == 0
        assert ticks[-1] >= end > ticks[-2]
        assert 3 <= len(ticks) <= 7


def turn(role: str, start_s: float, end_s: float, text: str) -> dict[str, object]:
    return {"role": role, "start_s": start_s, "end_s": end_s, "text": text}


def test_a_clip_begins_with_a_turn_where_the_customer_says_most() -> None:
    turns = [
        turn("agent", 0, 5, "how can i help you today"),
        turn("customer", 6, 8, "well"),
        turn(
            "customer",
            30,
            45,
            "this is the third time i call about the same wrong bill and nobody helps",
        ),
    ]
    assert clip_start_s(turns, 90.0, 20.0) == 30
    assert clip_start_s(turns, 40.0, 20.0) == 20  # and never runs over the end
    assert clip_start_s([], 90.0, 20.0) == 0
