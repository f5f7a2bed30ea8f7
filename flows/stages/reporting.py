"""The stages that only look: report, backtest, nightly evaluation."""

from __future__ import annotations

from typing import Any

from data.progress import Progress
from flows.runtime.context import RunContext


def report(context: RunContext, progress: Progress) -> dict[str, Any]:
    """Writes the page of the run."""
    from evaluation.report.run import write_report

    truth = context.path("truth")
    return write_report(
        context.store,
        truth=truth if truth.is_dir() else None,
        out=context.path("report/index.html"),
        read_audio=context.decoded(),
        now=context.now(),
        params=context.params.report,
    )


def backtest(context: RunContext, progress: Progress) -> dict[str, Any]:
    """Trains on the past and scores on the future, on several days."""
    from flows.stages.backtest import backtest

    return backtest(context, progress)


def nightly(context: RunContext, progress: Progress) -> dict[str, Any]:
    """Scores the champions on the test data of today and holds them against the figures they were promoted with."""
    from flows.stages.nightly import evaluate_champions

    return evaluate_champions(context, progress)
