"""Fills one of the HTML templates; every value is escaped, and figures are formatted for people."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evaluation.report import formatting

FILTERS = (
    "channel",
    "clock",
    "count",
    "day",
    "duration",
    "figure",
    "listing",
    "moment",
    "plain",
    "sentence",
    "several",
    "share",
    "signed",
    "size",
    "title",
)


def page(template: str, values: Mapping[str, Any]) -> str:
    """Returns the filled template. A value that the template needs and does not get is an error."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).with_name("templates")),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update({name: getattr(formatting, name) for name in FILTERS})
    # Our own drawings (charts.py), which escape what they write.
    environment.filters["svg"] = Markup
    return environment.get_template(template).render(**values)
