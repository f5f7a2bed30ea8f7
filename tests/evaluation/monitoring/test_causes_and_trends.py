"""One request a cause, and a trend store that repeats a day without doubling it."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import pytest

from evaluation.monitoring import trends
from evaluation.monitoring.causes import Request, acknowledge, note_alarms, read_causes
from evaluation.monitoring.trends import Point

DAY = date(2026, 5, 12)
CODEC = ("codec", "Last night: codec GSM610 100.0%.")
BAND = ("band_hz", "Last night: band_hz 3000 on average.")


def night(path: Path, day: date, *asr: tuple[str, str], version: int = 1) -> Request:
    return note_alarms(
        path,
        {"asr": list(asr), "churn": []},
        {"asr": version, "churn": 1},
        site="demo",
        day=day,
        ask_again_days=14,
    )


def test_M1_a_cause_asks_once_until_a_promotion(tmp_path: Path) -> None:
    path = tmp_path / "causes.json"
    assert not night(path, DAY - timedelta(days=1)).retrain
    first = night(path, DAY, CODEC)
    assert first.retrain
    assert (first.event["kinds"], first.event["site"]) == (["asr"], "demo")
    assert first.event["reasons"]["asr"] == CODEC[1]
    assert night(path, DAY, CODEC).event["id"] == first.event["id"], "the same night, the same id"
    later = [night(path, DAY + timedelta(days=n), CODEC, BAND) for n in range(1, 40)]
    assert not any(request.retrain for request in later)
    assert later[-1].causes[0].metrics == ("codec", "band_hz")
    promoted = night(path, DAY + timedelta(days=40), version=2)
    assert not promoted.retrain
    assert promoted.causes == ()
    assert read_causes(path)[0].closed_by == "promotion"
    assert night(path, DAY + timedelta(days=41), CODEC, version=2).retrain


def test_M1_an_acknowledged_cause_asks_again_if_it_is_still_there(tmp_path: Path) -> None:
    path = tmp_path / "causes.json"
    night(path, DAY, CODEC)
    closed = acknowledge(path, "asr", by="ann", day=DAY)
    assert closed is not None
    assert closed.closed_by == "ann"
    assert acknowledge(path, "asr", by="ann", day=DAY) is None
    assert not night(path, DAY + timedelta(days=1)).retrain
    assert night(path, DAY + timedelta(days=2), CODEC).retrain


def test_M1_something_new_after_quiet_weeks_is_a_cause_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "causes.json"
    night(path, DAY, CODEC)
    assert not night(path, DAY + timedelta(days=5), BAND).retrain
    assert night(path, DAY + timedelta(days=25), ("level_dbfs", "louder")).retrain


def point(day: str, value: float, **more: object) -> Point:
    return Point(day, "asr", "wer", value, **more)  # type: ignore[arg-type]


def test_M5_a_day_written_again_replaces_itself_and_no_other(tmp_path: Path) -> None:
    trends.write_day(tmp_path, "2026-05-01", [point("2026-05-01", 0.3)])
    trends.write_day(tmp_path, "2026-05-02", [point("2026-05-02", 0.4)])
    trends.write_day(tmp_path, "2026-05-02", [point("2026-05-02", 0.5, low=0.4, high=0.6)])
    assert trends.read_trends(tmp_path)["value"].to_list() == [0.3, 0.5]
    assert trends.read_trends(tmp_path, days=1)["value"].to_list() == [0.5]
    assert trends.read_trends(tmp_path, kind="churn").is_empty()
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "2026-05-01.parquet",
        "2026-05-02.parquet",
    ]


def test_M5_a_point_of_another_day_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Write each day by itself"):
        trends.write_day(tmp_path, "2026-05-02", [point("2026-05-01", 0.3)])
    assert trends.read_trends(tmp_path).is_empty()
