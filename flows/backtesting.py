"""`keepline backtest`: how well leaving would have been foreseen, had the model been trained and used earlier."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
from rich.console import Console
from rich.table import Table

from data.files import read_json, write_json, write_table
from data.progress import Progress
from flows import marker
from flows.graph import BY_NAME

if TYPE_CHECKING:
    from flows.runtime.context import RunContext

SHOWN = ("brier", "auc", "c_index", "average_precision", "lift_10", "calibration_slope", "empc")


def backtest(context: RunContext, progress: Progress) -> dict[str, Any]:
    """Writes backtest.json and the predictions behind it, as one MLflow run with a step a fold."""
    from training.churn.backtest import MODEL, backtest
    from training.tracking import start_or_resume

    params, settings = context.params, context.settings
    version = read_json(context.path("version.json"))
    key = f"backtest {marker.of_step(context, BY_NAME['backtest'])[:12]}"
    tags = {"kind": "backtest", "git_commit": context.git_commit, "dvc_hash": version["dvc_hash"]}
    run = start_or_resume(
        settings.tracking_uri,
        "keepline-backtest",
        key,
        asdict(params.backtest),
        tags,
        reuse_finished=True,
        artifact_root=settings.artifact_root,
    )
    with run:
        run.log_input(version, "calls and customers")
        found, predictions = backtest(
            pl.read_parquet(context.path("features.parquet")),
            params.backtest,
            params.churn,
            context.path("backtest"),
            params.evaluation.campaign,
            params.features.lead_days,
            progress,
        )
        for number, fold in enumerate(found["folds"]):
            if "metrics" in fold:
                run.log_metrics(dict(_flat("", fold["metrics"][MODEL])), step=number)
        run.log_metrics(dict(_flat("pooled_", found["pooled"]["metrics"][MODEL])))
        write_table(context.path("backtest.parquet"), predictions)
        summary = {**found, "run_id": run.run_id}
        write_json(context.path("backtest.json"), summary)
        run.log_artifact(context.path("backtest.json"))
    return summary


def _flat(before: str, metrics: dict[str, dict[str, Any]]) -> Iterator[tuple[str, float]]:
    for risk, figures in metrics.items():
        for figure, found in figures.items():
            for end in ("value", "low", "high"):
                if found[end] is not None:
                    name = f"{before}{figure}{risk.removeprefix('risk')}"
                    yield (name if end == "value" else f"{name}_{end}"), found[end]


def show(console: Console, store: Path | None) -> None:
    """Runs the step, or takes what it left, and prints a table a horizon: folds below each other, then all of them."""
    from flows.runtime.context import load_context
    from flows.wiring import run_step
    from training.churn.backtest import LIFE_TABLE, MODEL

    found, _ = run_step(load_context(store), "backtest", console)
    for risk in found["pooled"]["metrics"][MODEL]:
        table = Table(
            title=f"Trained before the day, scored after it: within {risk.removeprefix('risk_')} days"
        )
        for name in ("as of", "customers", *SHOWN, "gain in Brier over the life table"):
            table.add_column(name.replace("_", " "), justify="left" if name == "as of" else "right")
        for name, fold in [
            *((one["as_of"], one) for one in found["folds"]),
            ("all", found["pooled"]),
        ]:
            figures = fold.get("metrics", {}).get(MODEL, {}).get(risk)
            if figures is None:
                table.add_row(name, "", fold.get("skipped", "not followed that far"))
                continue
            gain = fold["gain_in_brier"][LIFE_TABLE].get(risk)
            table.add_row(
                name,
                str(figures["brier"]["customers"]),
                *(_shown(figures.get(one)) for one in SHOWN),
                _shown(gain),
            )
        console.print(table)
    console.print(f"MLflow run {found['run_id']}; every figure is in backtest.json")


def _shown(found: dict[str, Any] | None) -> str:
    if found is None:
        return "–"
    ends = "" if found["low"] is None else f" [dim]({found['low']:.3f} to {found['high']:.3f})[/]"
    return f"{found['value']:.3f}{ends}"
