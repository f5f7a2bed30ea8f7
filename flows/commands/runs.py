"""The command `keepline runs`: training runs as a table.

It loads neither MLflow nor the pipeline, so that it is quick at a thousand runs.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from flows.runtime.settings import from_environment
from training.browse import browse

# What runs are chosen by, and what the gate has decided on.
FIGURES = {
    "validation": ("validation_wer", "validation_label_errors", "validation_brier"),
    "test": ("test_wer", "test_label_errors", "test_brier"),
}


def runs(
    console: Console,
    store: Path | None,
    *,
    limit: int,
    where: list[str] | None = None,
    sort: str | None = None,
    show: list[str] | None = None,
) -> None:
    """Prints the runs that meet every condition, with their validation figures.

    Test figures are shown of runs that the gate has decided on. `show` names more metrics,
    parameters or tags, a column each.
    """
    more = list(show or [])
    rows = browse(from_environment(store=store).tracking_uri, where or (), sort=sort)
    table = Table(box=None)
    for column in ("run", "name", "status", "began", *FIGURES, "data", "verdict", *more):
        table.add_column(column)
    for run in rows[:limit]:
        metrics = run["metrics"]
        decided = "decision" in run["tags"] or "verdict" in run["tags"]
        figures = [
            " ".join(
                f"{name.removeprefix(f'{part}_')} {metrics[name]:.4f}"
                for name in names
                if name in metrics and (decided or part != "test")
            )
            for part, names in FIGURES.items()
        ]
        began = datetime.fromtimestamp(run["start_time"] / 1000, UTC)
        extra = [
            _shown(metrics.get(name, run["params"].get(name, run["tags"].get(name))))
            for name in more
        ]
        table.add_row(
            run["run_id"][:8],
            escape(run["name"] or ""),
            run["status"],
            f"{began:%Y-%m-%d %H:%M}",
            *figures,
            run["tags"].get("dvc_hash", "")[:8],
            run["tags"].get("verdict", ""),
            *map(escape, extra),
        )
    console.print(table)
    if len(rows) > limit:
        console.print(f"{len(rows) - limit} more; --limit shows them", style="dim", highlight=False)


def _shown(value: object) -> str:
    return "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
