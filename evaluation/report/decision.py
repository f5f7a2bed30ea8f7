"""The page of one decision: the verdict, each check with its figures, and both scorecards side by side."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evaluation.report import words

VERDICTS = {"pass": "passed", "fail": "failed", "no_evidence": "no evidence", "skipped": "skipped"}


def decision_page(record: Mapping[str, Any]) -> str:
    """A self-contained HTML page for a decision record (see evaluation/gates/decision.schema.json)."""
    candidate, reference = record["candidate"], record["reference"] or {"metrics": {}}
    names = sorted({*candidate["metrics"], *reference["metrics"]})
    return render(
        "decision.html.j2",
        decision=record,
        verdicts=VERDICTS,
        metrics=[(name, candidate["metrics"].get(name), reference["metrics"].get(name)) for name in names],
    )


def render(template: str, **values: Any) -> str:
    """Fills one of the templates beside this file; everything put in is escaped."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).with_name("templates")),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for function in (words.plain, words.signed, words.moment, words.size, words.several, words.title, words.listing):
        environment.filters[function.__name__] = function
    return environment.get_template(template).render(**values)
