"""The trends as people see them: the report's section and the command."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from rich.console import Console

from evaluation.monitoring import trends
from evaluation.monitoring.trends import Point
from evaluation.report.artefacts import ArtefactReader
from evaluation.report.sections.trends import night_trends
from flows.commands.trends import acknowledge, show_trends

DAYS = ("2026-05-01", "2026-05-02", "2026-05-03")


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Three nights of a recogniser: promoted in the first, an alarm in the last."""
    (tmp_path / "registry").mkdir()  # a store that has been used
    for number, day in enumerate(DAYS):
        points = [
            Point(day, "asr", "wer", 0.3 + number / 100, 0.25, 0.4, 50, trends.TRUTH, 1),
            Point(day, "asr", "wer", 0.5, n=9, source=trends.TRUTH, by="codec", slice="GSM610"),
            Point(day, "asr", "band_hz", 3400.0, n=9, version=1),
            Point(day, "asr", "wer", event=trends.VERDICT, slice="unproven", says="Too little."),
        ]
        if number == 0:
            points.append(Point(day, "asr", "champion", version=1, event="promote", says="v1."))
        if number == 2:
            says = "Last night: band_hz <3000>."
            points.append(Point(day, "asr", "band_hz", event=trends.ALARM, says=says))
        trends.write_day(tmp_path / "trends", day, points)
    return tmp_path


def test_M5_the_report_draws_each_figure_and_marks_what_happened(store: Path) -> None:
    section = night_trends(ArtefactReader(store))
    assert section is not None
    assert (section["nights"], section["verdicts"][0]["state"]) == (3, "unproven")
    charts = {chart["title"]: chart["svg"] for chart in section["charts"]}
    assert set(charts) == {"Recogniser: wer", "Recogniser: band hz"}
    assert charts["Recogniser: wer"].count("<circle") == 3
    assert "<polygon" in charts["Recogniser: wer"], "the band of intervals"
    assert "stroke-dasharray" in charts["Recogniser: wer"], "the promotion"
    assert "&lt;3000&gt;" in charts["Recogniser: band hz"], "the alarm, escaped"
    assert "3000" not in charts["Recogniser: wer"], "an alarm is drawn at its own metric"


def test_M5_without_nights_there_is_no_section(tmp_path: Path) -> None:
    assert night_trends(ArtefactReader(tmp_path)) is None


def test_M5_the_command_shows_figures_events_and_json(
    store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def shown(*, as_json: bool, slices: bool = False) -> str:
        console = Console(width=200)
        show_trends(console, store, kind="asr", metrics=[], days=2, slices=slices, as_json=as_json)
        return capsys.readouterr().out

    text = shown(as_json=False)
    assert "0.3200" in text
    assert "0.2500 to 0.4000" in text
    assert "alarm" in text
    assert "2026-05-01" not in text
    rows = [json.loads(line) for line in shown(as_json=True, slices=True).splitlines()]
    assert {row["day"] for row in rows} == set(DAYS[1:])
    assert any(row["slice"] == "GSM610" for row in rows)
    acknowledge(Console(width=200), "asr", store)
    assert "nothing asks for a retraining" in capsys.readouterr().out
