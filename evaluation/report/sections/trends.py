"""Report section on the nights: a line with its band for each figure, alarms and promotions marked."""

from __future__ import annotations

from typing import Any

import polars as pl

from evaluation.monitoring import trends
from evaluation.report.artefacts import ArtefactReader
from evaluation.report.charts import Estimate, Mark, line_chart
from models.kinds import kind_of, kinds

FOLDER = "trends"
DAYS = 60  # nights that are drawn
# The word errors of all calls that came in, best estimate first.
_CALLS = ("wer_calls_joined", "wer_calls_confidence", "wer_calls_truth")
_PERCENT = ("wer", "share", "words", "errors", "confidence")


def night_trends(artefacts: ArtefactReader) -> dict[str, Any] | None:
    """Returns a chart for each figure of each kind, and what happened; None before any night."""
    if not artefacts.has(FOLDER):
        return None
    rows = trends.read_trends(artefacts.store / FOLDER, days=DAYS)
    if rows.is_empty():
        return None
    days = rows["day"].unique().sort().to_list()
    events = rows.filter(pl.col("event").is_in([trends.ALARM, *trends.CHAMPION_MOVES])).to_dicts()
    verdicts = rows.filter((pl.col("event") == trends.VERDICT) & (pl.col("day") == days[-1]))
    return {
        "days": days,
        "nights": len(days),
        "charts": [
            chart
            for kind in kinds()
            for chart in _charts(rows.filter(pl.col("kind") == kind.name), kind.name, days, events)
        ],
        "events": list(reversed(events)),
        "verdicts": [
            {"kind": kind_of(row["kind"]).title, "state": row["slice"], "says": row["says"]}
            for row in verdicts.iter_rows(named=True)
        ],
    }


def _charts(
    rows: pl.DataFrame, kind: str, days: list[str], events: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Returns the charts of one kind: its own metric, what was estimated, what was measured."""
    figures = rows.filter((pl.col("by") == "") & (pl.col("event") == ""))
    if kind == "churn":  # what has matured is by model; the last one's is drawn
        figures = pl.concat([figures, rows.filter(pl.col("by") == "model")])
    wanted = [kind_of(kind).primary_metric, kind_of(kind).metric, *_CALLS]
    names = [name for name in dict.fromkeys(wanted) if name in figures["metric"]]
    measured = figures.filter(pl.col("source") == trends.MEASURED)["metric"].unique().sort()
    matured = [
        name for name in figures["metric"].unique().sort() if name.startswith("matured_brier_")
    ]
    charts = []
    for name in [*names, *matured, *measured.to_list()]:
        points = figures.filter(pl.col("metric") == name).sort("day", "version")
        by_day = {row["day"]: row for row in points.iter_rows(named=True)}
        marks = [
            Mark(days.index(event["day"]), event["says"], event["event"] == trends.ALARM)
            for event in events
            if event["kind"] == kind and (event["event"] != trends.ALARM or event["metric"] == name)
        ]
        drawn = [
            (place, Estimate(by_day[day]["value"], by_day[day]["low"], by_day[day]["high"]))
            for place, day in enumerate(days)
            if day in by_day
        ]
        last = by_day[max(by_day)]
        title = f"{kind_of(kind).title}: {name.replace('_', ' ')}"
        says = {
            trends.TRUTH: "Where people or time told the truth",
            trends.ESTIMATE: "Estimated",
            trends.MEASURED: "Measured of what came in",
        }[last["source"]]
        label = f"{title} over {len(by_day)} nights, last {last['value']:.4g}"
        percent = any(part in name for part in _PERCENT)
        charts.append(
            {
                "title": title,
                "says": f"{says}; bands are 95 % intervals.",
                "svg": line_chart(drawn, days, marks, label=label, percent=percent),
            }
        )
    return charts
