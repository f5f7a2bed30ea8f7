"""The command `keepline backtest`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

SHOWN = ("brier", "auc", "c_index", "average_precision", "lift_10", "calibration_slope", "empc")


def show(console: Console, store: Path | None) -> None:
    """Runs the stage backtest, or takes its stored result, and prints a table a horizon.

    A table has a row a fold, then one for all folds together.
    """
    from flows.runtime.context import existing_context
    from flows.stages.runner import run_stage
    from training.churn.backtest import LIFE_TABLE, MODEL

    summary, _ = run_stage(existing_context(store), "backtest", console)
    for risk in summary["pooled"]["metrics"][MODEL]:
        table = Table(
            title=(
                f"Trained before the day, scored after it: within {risk.removeprefix('risk_')} days"
            )
        )
        for name in ("as of", "customers", *SHOWN, "gain in Brier over the life table"):
            table.add_column(name.replace("_", " "), justify="left" if name == "as of" else "right")
        for name, fold in [
            *((row["as_of"], row) for row in summary["folds"]),
            ("all", summary["pooled"]),
        ]:
            figures = fold.get("metrics", {}).get(MODEL, {}).get(risk)
            if figures is None:
                table.add_row(name, "", fold.get("skipped", "not followed that far"))
                continue
            gain = fold["gain_in_brier"][LIFE_TABLE].get(risk)
            table.add_row(
                name,
                str(figures["brier"]["customers"]),
                *(_shown(figures.get(row)) for row in SHOWN),
                _shown(gain),
            )
        console.print(table)
    console.print(f"MLflow run {summary['run_id']}; every figure is in backtest.json")


def _shown(estimate: dict[str, Any] | None) -> str:
    if estimate is None:
        return "–"
    ends = (
        ""
        if estimate["low"] is None
        else f" [dim]({estimate['low']:.3f} to {estimate['high']:.3f})[/]"
    )
    return f"{estimate['value']:.3f}{ends}"
