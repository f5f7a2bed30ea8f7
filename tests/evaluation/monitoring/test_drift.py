"""Drift tests keep their level on quiet nights and find what is planted."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest

from evaluation.monitoring import drift
from evaluation.monitoring.panel import Alarm, PanelResult, judge_panel, weight_of
from evaluation.monitoring.params import MonitoringParams

PARAMS = MonitoringParams()
FIRST = date(2026, 3, 2)  # a Monday


def a_night(rng: np.random.Generator, day: date, calls: int = 25, **changes: Any) -> pl.DataFrame:
    """A night's observations: a level that is lower at weekends, and a codec."""
    weekend = day.weekday() >= 5
    level = rng.normal(-24 - 3 * weekend + rng.normal(0, 0.6), 3, calls)
    return pl.DataFrame(
        {
            "contact_id": [f"{day}-{n}" for n in range(calls)],
            "customer_id": [f"c{n}" for n in rng.integers(0, 10_000, calls)],
            "day": [day] * calls,
            "level_dbfs": level + float(changes.get("louder", 0.0)),
            "codec": rng.choice(["ULAW", "ALAW"], calls, p=[0.9, 0.1]).tolist(),
        }
    ).with_columns(**{k: pl.lit(v) for k, v in changes.items() if k == "codec"})


def a_period(
    rng: np.random.Generator, first: date, nights: int, **changes: Any
) -> list[pl.DataFrame]:
    return [a_night(rng, first + timedelta(days=n), **changes) for n in range(nights)]


def judge(reference: list[pl.DataFrame], nights: list[pl.DataFrame]) -> PanelResult:
    return judge_panel("asr", pl.concat(reference), nights, params=PARAMS, kinds=3)


def test_quiet_nights_with_weekends_alarm_nobody() -> None:
    rng = np.random.default_rng(1)
    reference = a_period(rng, FIRST, 56)
    nights = a_period(rng, FIRST + timedelta(days=56), 28)
    assert not [alarm for n in range(4, 29, 4) for alarm in judge(reference, nights[:n]).alarms]


def test_a_codec_and_a_level_are_named_in_their_first_night() -> None:
    rng = np.random.default_rng(2)
    reference, begin = a_period(rng, FIRST, 56), FIRST + timedelta(days=56)
    nights = a_period(rng, begin, 11)
    codec = judge(reference, [*nights, a_night(rng, begin + timedelta(days=11), codec="GSM610")])
    assert [(a.metric, a.category, a.window) for a in codec.alarms] == [("codec", "GSM610", 1)]
    assert "codec GSM610 100.0%, 0.0% in the reference period" in codec.alarms[0].sentence
    level = judge(reference, [*nights, a_night(rng, begin + timedelta(days=11), louder=9.0)])
    assert [alarm.metric for alarm in level.alarms] == ["level_dbfs"]


def test_a_small_lasting_shift_is_found_by_a_longer_window() -> None:
    rng = np.random.default_rng(3)
    reference, begin = a_period(rng, FIRST, 56), FIRST + timedelta(days=56)
    nights = a_period(rng, begin, 28, louder=1.8)
    found = {alarm.window for n in range(1, 29, 6) for alarm in judge(reference, nights[:n]).alarms}
    assert found
    assert 1 not in found


def test_too_short_a_reference_says_so_and_alarms_nobody() -> None:
    rng = np.random.default_rng(4)
    result = judge(a_period(rng, FIRST, 3), [a_night(rng, FIRST, codec="GSM610")])
    assert result.alarms == []
    assert "Nothing can be said" in result.says


@pytest.mark.parametrize("calls", [6, 25])
def test_p_values_of_quiet_nights_are_uniform_enough(calls: int) -> None:
    """Over 60 centres × 100 nights: at most 1.6 times the stated rate at 1 %."""
    rng = np.random.default_rng(5)
    days, nights, small, count = 56, 100, 0, 0
    for _ in range(60):
        types = drift.day_type(np.arange(days + nights) % 7)
        n = np.maximum(rng.poisson(calls, days + nights), 1)
        day = np.repeat(np.arange(days + nights), n)
        values = (rng.normal(0, 0.3, days + nights) + 0.8 * (types > 0))[day]
        values = values + rng.standard_t(5, len(day))
        known = day < days
        scores = drift.normal_scores(values, values[known])
        fit = drift.fit_numbers(scores[known], day[known], types[:days])
        means = np.bincount(day, scores) / n
        p, _ = drift.number_p(fit, means[days:, None], n[days:, None], types[days:, None])
        small, count = small + int((p < 0.01).sum()), count + nights
    assert 0.001 < small / count < 0.016


def test_a_share_never_seen_is_as_unlikely_as_the_reference_allows() -> None:
    hits = np.zeros((40, 2))
    hits[:, 0] = 5
    fit = drift.fit_shares(hits, hits.sum(1))
    one, _ = drift.share_p(fit, 1, np.array([1]), np.array([5]))
    all_of_them, share = drift.share_p(fit, 1, np.array([5]), np.array([5]))
    assert one > 1e-3, "one odd call in five is no proof"
    assert all_of_them < 1e-6
    assert share == 1.0


def test_metrics_share_the_alarms_and_features_count_once() -> None:
    names = ["level_dbfs", "codec", "feature a", "feature b"]
    assert weight_of("codec", names) == pytest.approx(1 / 3)
    assert weight_of("feature a", names) == pytest.approx(1 / 6)
    assert sum(weight_of(name, names) for name in names) == pytest.approx(1)


def test_an_alarm_is_at_or_below_its_limit() -> None:
    rng = np.random.default_rng(6)
    reference = a_period(rng, FIRST, 56)
    (alarm,) = judge(reference, [a_night(rng, FIRST + timedelta(days=56), codec="GSM610")]).alarms
    assert isinstance(alarm, Alarm)
    assert alarm.p <= alarm.limit == pytest.approx(1 / 400 / 3 / 3 / 2)
