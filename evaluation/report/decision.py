"""The page of one decision: the verdict, each check with its figures, and all scorecards side by side."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from data.files import write_json, write_text
from evaluation.gates.record import Decision, validate_record
from evaluation.report.page import page

VERDICTS = {"pass": "passed", "fail": "failed", "no_evidence": "no evidence", "skipped": "skipped"}


def decision_page(record: Mapping[str, Any]) -> str:
    """A self-contained HTML page for a decision record (see evaluation/gates/decision.schema.json)."""
    candidate, reference = record["candidate"], record["reference"] or {"metrics": {}}
    conditions = candidate.get("conditions", {})
    theirs = reference.get("conditions", {})
    tables = [
        (
            "Scores",
            f"on test data {record['data_hash'] or '(not said)'}",
            _side_by_side(candidate, reference),
        )
    ]
    if conditions:
        rows = [
            (f"{metric}, {name.replace('_', ' ')}", found, theirs.get(name, {}).get(metric))
            for name, metrics in conditions.items()
            for metric, found in metrics.items()
        ]
        tables.append(
            ("Through the telephone", "on a sample of the test sent through each effect", rows)
        )
    for name, two in record["beside"].items():
        on = f"on data {two['candidate']['data_hash']}"
        tables.append(
            (
                name.replace("_", " ").capitalize(),
                on,
                _side_by_side(two["candidate"], two["reference"]),
            )
        )
    return page("decision.html.j2", {"decision": record, "verdicts": VERDICTS, "tables": tables})


def _side_by_side(
    candidate: Mapping[str, Any], reference: Mapping[str, Any]
) -> list[tuple[str, Any, Any]]:
    """(metric, the candidate's estimate, the reference's), None where a side was not measured in it."""
    ours, theirs = candidate["metrics"], reference["metrics"]
    return [(name, ours.get(name), theirs.get(name)) for name in sorted({*ours, *theirs})]


def write_decision(decision: Decision, folder: Path) -> tuple[Path, Path]:
    """Writes <id>.html, then <id>.json, into `folder`; returns (json, html). Raises DecisionError on a bad record."""
    validate_record(decision.record)
    page, record = folder / f"{decision.decision_id}.html", folder / f"{decision.decision_id}.json"
    write_text(page, decision_page(decision.record))
    write_json(record, decision.record)
    return record, page
