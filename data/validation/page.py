"""Writes Great Expectations' answers as one self-contained page that opens without a network."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data.files import write_text

if TYPE_CHECKING:
    from data.validation.gx import SuiteAnswer

SHOWN_REJECTS = 500  # the page stays light; the quarantine file has them all


def write_page(
    path: Path,
    summary: dict[str, Any],
    *,
    answers: dict[str, SuiteAnswer],
    rejects: list[dict[str, Any]],
) -> None:
    """Writes the page: verdict, hours, a table of expectations for each suite, rejects."""
    from jinja2 import Environment, FileSystemLoader, select_autoescape

    folder = Path(__file__).parent
    template = Environment(
        loader=FileSystemLoader(folder),
        autoescape=select_autoescape(default=True),
        trim_blocks=True,
        lstrip_blocks=True,
    ).get_template("page.html.jinja")
    reasons = Counter((entry["table"], entry["reason"]) for entry in rejects)
    html = template.render(
        summary=summary,
        suites={
            name: [_line(result) for result in answer.answer["results"]]
            for name, answer in answers.items()
        },
        reasons=reasons.most_common(),
        rejects=rejects[:SHOWN_REJECTS],
        hidden=max(0, len(rejects) - SHOWN_REJECTS),
    )
    write_text(path, html)


def _line(entry: dict[str, Any]) -> dict[str, Any]:
    config, result = entry["expectation_config"], entry["result"]
    kwargs = {
        key: value
        for key, value in config["kwargs"].items()
        if key not in ("batch_id", "ignore_row_if")
    }
    return {
        "success": entry["success"],
        "expectation": config["type"].removeprefix("expect_").replace("_", " "),
        "column": kwargs.pop("column", None)
        or f"{kwargs.pop('column_A', '')} / {kwargs.pop('column_B', '')}",
        "limits": ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in kwargs.items()),
        "rows": result.get("element_count"),
        "broken": result.get("unexpected_count"),
        "reason": config["meta"]["reason"],
        "stops": config["meta"]["stops"],
    }
