"""The page of one decision: verdict, checks with their figures, and scorecards side by side."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from data.files import write_json, write_text
from evaluation.gates.record import Decision, validate_record
from evaluation.report.page import page

VERDICTS = {
    "pass": "passed",
    "fail": "failed",
    "unproven": "unproven",
    "no_evidence": "not measured",
    "skipped": "skipped",
}

# A metric, the candidate's estimate and the reference's; None where a side was not measured.
Row = tuple[str, Any, Any]


def decision_page(record: Mapping[str, Any]) -> str:
    """Returns a self-contained HTML page for a decision record of the current format."""
    candidate, reference = record["candidate"], record["reference"] or {"metrics": {}}
    tables = [
        (
            "Scores",
            f"on test data {record['data_hash'] or '(not stated)'}",
            _metric_rows(candidate, reference),
        )
    ]
    if candidate.get("conditions"):
        tables.append(
            (
                "Through the telephone",
                "on a sample of the test sent through each effect",
                _condition_rows(candidate["conditions"], reference.get("conditions", {})),
            )
        )
    for name, test in record["secondary"].items():
        tables.append(
            (
                name.replace("_", " ").capitalize(),
                f"on data {test['candidate']['data_hash']}",
                _metric_rows(test["candidate"], test["reference"]),
            )
        )
    return page("decision.html.j2", {"decision": record, "verdicts": VERDICTS, "tables": tables})


def _metric_rows(candidate: Mapping[str, Any], reference: Mapping[str, Any]) -> list[Row]:
    """Returns a row for each metric of either side."""
    left, right = candidate["metrics"], reference["metrics"]
    return [(name, left.get(name), right.get(name)) for name in sorted({*left, *right})]


def _condition_rows(conditions: Mapping[str, Any], reference: Mapping[str, Any]) -> list[Row]:
    """Returns a row for each metric of each telephone effect."""
    return [
        (
            f"{metric}, {name.replace('_', ' ')}",
            estimate,
            reference.get(name, {}).get(metric),
        )
        for name, metrics in conditions.items()
        for metric, estimate in metrics.items()
    ]


def write_decision(decision: Decision, folder: Path) -> tuple[Path, Path]:
    """Writes <id>.html, then <id>.json, into `folder`; returns (json, html).

    Raises DecisionError for a record that is altered or does not keep the schema.
    """
    validate_record(decision.record)
    html, record = folder / f"{decision.decision_id}.html", folder / f"{decision.decision_id}.json"
    write_text(html, decision_page(decision.record))
    write_json(record, decision.record)
    return record, html
