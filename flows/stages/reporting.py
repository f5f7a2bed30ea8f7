"""The stage that writes the page of the run."""

from __future__ import annotations

from typing import Any

from data import artefacts
from data.progress import Progress
from flows.runtime.context import RunContext


def report(context: RunContext, progress: Progress) -> dict[str, Any]:
    """Writes the page of the run and returns its summary."""
    from evaluation.report.run import write_report

    truth = context.path(artefacts.TRUTH)
    page = artefacts.REPORT.within("index.html")
    summary = write_report(
        context.store,
        truth=truth if truth.is_dir() else None,
        out=context.path(page),
        read_audio=context.decoded(),
        now=context.now(),
        params=context.params.report,
    )
    return {**summary, "page": page.path}  # in the store, which can move
