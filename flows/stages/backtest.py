"""The stage that trains on the past and scores on the future, on several days."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import polars as pl

from data import artefacts
from data.files import read_json, write_json, write_table
from data.progress import Progress
from flows.runtime import stage_cache
from flows.runtime.graph import BY_NAME

if TYPE_CHECKING:
    from flows.runtime.context import RunContext


def backtest(context: RunContext, progress: Progress) -> dict[str, Any]:
    """Writes backtest.json and the predictions behind it; returns the summary.

    It is one MLflow run with a step a fold.
    """
    from training.churn.backtest import MODEL, backtest
    from training.tracking import start_or_resume

    params, settings = context.params, context.settings
    version = read_json(context.path(artefacts.VERSION))
    key = f"backtest {stage_cache.stage_fingerprint(context, BY_NAME['backtest'])[:12]}"
    tags = {"kind": "backtest", "git_commit": context.git_commit, "dvc_hash": version["dvc_hash"]}
    run = start_or_resume(
        settings.tracking_uri,
        "keepline-backtest",
        key,
        params=asdict(params.backtest),
        tags=tags,
        reuse_finished=True,
        artifact_root=settings.artifact_root,
    )
    with run:
        run.log_input(version, "calls and customers")
        result, predictions = backtest(
            pl.read_parquet(context.path(artefacts.FEATURES)),
            params.backtest,
            params.churn,
            work_dir=context.path(artefacts.BACKTEST_WORK),
            campaign=params.evaluation.campaign,
            lead_days=params.features.lead_days,
            progress=progress,
        )
        for number, fold in enumerate(result["folds"]):
            if "metrics" in fold:
                run.log_metrics(dict(_flat("", fold["metrics"][MODEL])), step=number)
        run.log_metrics(dict(_flat("pooled_", result["pooled"]["metrics"][MODEL])))
        write_table(context.path(artefacts.BACKTEST_ROWS), predictions)
        summary = {**result, "run_id": run.run_id}
        write_json(context.path(artefacts.BACKTEST), summary)
        run.log_artifact(context.path(artefacts.BACKTEST))
    return summary


def _flat(before: str, metrics: dict[str, dict[str, Any]]) -> Iterator[tuple[str, float]]:
    """Yields metrics as (name, value), interval ends included."""
    for risk, figures in metrics.items():
        for figure, estimate in figures.items():
            for end in ("value", "low", "high"):
                if estimate[end] is not None:
                    name = f"{before}{figure}{risk.removeprefix('risk')}"
                    yield (name if end == "value" else f"{name}_{end}"), estimate[end]
