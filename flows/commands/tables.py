"""The commands `keepline fit-table` and `keepline score-table`.

They train and use the churn model on any table with a yes/no target.
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from data import plain_table
from data.files import atomic, read_json, write_table
from data.plain_table import Columns, TableError
from flows.runtime.context import git_commit
from flows.runtime.progress import bar
from flows.runtime.settings import from_environment
from models.kinds import CHURN

if TYPE_CHECKING:
    from models.churn.model import ChurnModel

# How the table was read, kept in the bundle.
READING = "table.json"
FIGURES = ("log_loss", "brier", "auc", "average_precision", "lift_10", "ece", "calibration_slope")
REASONS = 3


def fit_table(
    console: Console,
    file: Path,
    target: str,
    *,
    id: str | None,
    out: Path | None,
    positive: str | None,
    exclude: list[str],
    folds: int,
    seed: int,
    allow_leaks: bool,
) -> None:
    """Trains a churn model on the column `target` of `file` and prints its held-out figures.

    Writes model/ and held_out.parquet to `out`, and with `folds` suspects.parquet. Raises
    TableError for a table or a column that cannot be learned from.
    """
    from evaluation.metrics.churn import churn_metrics
    from training.churn.table import TableFit, fit_table

    out = out or Path(f"{file.stem}.model")
    frame = plain_table.read(file)
    event = plain_table.target(frame, target, positive)
    ids = plain_table.identifiers(frame, id)
    columns = plain_table.columns_of(frame, target, positive=positive, id=id, exclude=exclude)
    fit = TableFit(seed=seed, folds=folds, allow_leaks=allow_leaks)
    values = plain_table.values_of(frame, columns)
    with tempfile.TemporaryDirectory() as work, bar(console, f"learning {target}") as progress:
        fitted = fit_table(
            values, event, ids, columns=columns, params=fit, work_dir=Path(work), progress=progress
        )
        metrics = churn_metrics(fitted.predictions, seed=seed)["risk"]
        reported_on = (
            "every row, by a model that had not seen it"
            if folds
            else f"{fitted.predictions.height} rows held out"
        )
        reading = {
            "columns": asdict(columns),
            "reported_on": reported_on,
            "metrics": {k: asdict(v) for k, v in metrics.items()},
            "rows": frame.height,
            "fit": {"seed": seed, "folds": folds},
        }
        card = _card(file.name, columns, reading, fitted.summary)
        out.mkdir(parents=True, exist_ok=True)
        _write_bundle(out / "model", fitted.model, file, reading=reading, card=card)
    write_table(out / "held_out.parquet", fitted.predictions.select("customer_id", "event", "risk"))
    _print_columns(console, frame, columns, fitted.summary)
    _print_figures(console, metrics, reported_on)
    if folds:
        _list_target_issues(console, out, fitted.predictions)
    console.print(
        f"model in [bold]{out / 'model'}[/]; score others with: keepline score-table {out} FILE",
        highlight=False,
        soft_wrap=True,
    )


def _write_bundle(
    out: Path, model: Path, file: Path, *, reading: dict[str, Any], card: str
) -> None:
    """Writes the bundle `out` of the model in the folder `model`, which learned from `file`."""
    from data.files import file_sha256
    from models.registry.bundle import write_bundle
    from models.registry.signing import sign_folder

    files: dict[str, Any] = {name: model / name for name in ("weights.safetensors", "config.json")}
    files[READING] = json.dumps(reading, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
    files["card.md"] = card
    write_bundle(
        out,
        CHURN.name,
        files,
        data_hash=file_sha256(file),
        git_commit=git_commit(),
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        licence="the terms of your own data",
        params={"target": reading["columns"]["target"], **reading["fit"]},
    )
    if key := from_environment().signing_key:
        sign_folder(out, key)


def _list_target_issues(console: Console, out: Path, predictions: pl.DataFrame) -> None:
    """Writes the targets that are probably wrong to suspects.parquet and prints how many."""
    from training.churn.table import find_target_issues

    issues, share = find_target_issues(predictions)
    write_table(out / "suspects.parquet", issues)
    console.print(
        f"{issues.height} targets are probably wrong (about {share:.1%} of all); "
        "suspects.parquet lists them, most suspect first",
        highlight=False,
    )


def score_table(console: Console, model: Path, file: Path, out: Path | None) -> None:
    """Writes each row's id, risk and reasons, riskiest first, and prints the values never seen.

    `out` is CSV or Parquet. Raises TableError for a model that `fit_table` did not make, and
    BundleError for one that does not verify.
    """
    from evaluation.metrics.churn import churn_metrics
    from models.churn.model import ChurnModel
    from models.registry.bundle import verify_bundle
    from training.churn.table import to_churn_rows

    folder = model / "model" if (model / "model").is_dir() else model
    verify_bundle(folder, from_environment().public_key)
    if not (folder / READING).is_file():
        raise TableError(
            f"{folder}: was not trained by `keepline fit-table`. Its features come from the "
            "pipeline."
        )
    reading = read_json(folder / READING)
    columns = _columns(reading["columns"])
    network = ChurnModel.load(folder)
    frame = plain_table.read(file)
    ids = plain_table.identifiers(frame, columns.id)
    values = plain_table.values_of(frame, columns)
    rows = to_churn_rows(values, ids)
    scored = _risks_and_reasons(network, rows).rename({"customer_id": columns.id or "row"})
    out = out or Path(f"{file.stem}.scores.csv")
    if out.suffix == ".parquet":
        write_table(out, scored)
    else:
        with atomic(out) as temporary:
            scored.write_csv(temporary)
    _print_unseen(console, network, values)
    expected = float(scored["risk"].to_numpy().sum())
    console.print(
        f"{scored.height} rows; {columns.target} is expected of {expected:.0f}", highlight=False
    )
    if columns.target in frame.columns and frame[columns.target].null_count() < frame.height:
        event = plain_table.target(frame, columns.target, columns.positive)
        predictions = network.predict(rows).with_columns(
            event.alias("event"), pl.lit(None, pl.Float64).alias("time_days")
        )
        _print_figures(
            console,
            churn_metrics(predictions.filter(pl.col("event").is_not_null()), seed=0)["risk"],
            file.name,
        )
    console.print(f"scores and reasons in [bold]{out}[/]", highlight=False, soft_wrap=True)


def _risks_and_reasons(network: ChurnModel, rows: pl.DataFrame) -> pl.DataFrame:
    """customer_id, risk and reason_1 … of each row, riskiest first."""
    scored = network.predict(rows).select("customer_id", "risk")
    reasons = network.reasons(rows.drop("as_of"), top=REASONS)
    sentences = reasons.pivot("rank", index="customer_id", values="sentence")
    sentences = sentences.rename(
        {name: f"reason_{name}" for name in sentences.columns if name != "customer_id"}
    )
    return scored.join(sentences, on="customer_id", how="left").sort(
        "risk", descending=True, maintain_order=True
    )


def _print_unseen(console: Console, network: ChurnModel, values: pl.DataFrame) -> None:
    """Warns of categories that the model's training never saw, a line a column."""
    seen = {
        column.name.removeprefix("attr_"): column.values
        for column in network.config.columns
        if column.kind == "categorical"
    }
    for name, new in plain_table.unseen_values(values, seen).items():
        some = ", ".join(f"{value} ({count})" for value, count in list(new.items())[:5])
        console.print(
            f"[yellow]column {escape(name)}: {sum(new.values())} rows have values the model "
            f"never saw: {escape(some)}. They were scored by their other columns.[/]",
            highlight=False,
        )


def _print_columns(
    console: Console, frame: pl.DataFrame, columns: Columns, summary: dict[str, Any]
) -> None:
    console.print(
        f"{frame.height} rows, {len(columns.numeric)} numbers, {len(columns.categorical)} "
        "categories",
        highlight=False,
    )
    if summary["unknown_target"]:
        console.print(
            f"{summary['unknown_target']} rows have no {columns.target} and were left out",
            highlight=False,
        )
    for name, auc in summary["leaks_allowed"].items():
        console.print(
            f"[yellow]column {escape(name.removeprefix('attr_'))} alone has an AUC of {auc:.3f}; "
            "it was "
            "learned from as asked[/]",
            highlight=False,
        )
    for value in summary["leaking_values_allowed"]:
        console.print(
            f"[yellow]column {escape(value)}; it was learned from as asked[/]", highlight=False
        )
    for name, why in columns.left_out.items():
        console.print(f"column {name} was left out: {why}", style="dim", highlight=False)


def _print_figures(console: Console, metrics: dict[str, Any], on: str) -> None:
    table = Table(
        box=None, pad_edge=False, title=f"on {on}", title_justify="left", title_style="dim"
    )
    table.add_column("figure")
    table.add_column("value", justify="right")
    table.add_column("95 % interval")
    for name in FIGURES:
        estimate = metrics[name]
        ends = "" if estimate.low is None else f"{estimate.low:.4f} to {estimate.high:.4f}"
        table.add_row(name, f"{estimate.value:.4f}", ends)
    console.print(table)


def _card(file: str, columns: Columns, reading: dict[str, Any], summary: dict[str, Any]) -> str:
    figures = "".join(
        f"- {name}: {metric['value']:.4f} ({metric['low']:.4f} to {metric['high']:.4f})\n"
        for name in FIGURES
        if (metric := reading["metrics"][name])["low"] is not None
    )
    left_out = "".join(f"- {name}: {why}\n" for name, why in columns.left_out.items()) or "none\n"
    return (
        f"# {columns.target}, learned from {file}\n\nThe risk that `{columns.target}` is yes, for "
        "rows like those of "
        f"{file}.\n\n## Data\n\n{reading['rows']} rows; columns: {', '.join(columns.features)}\n\n"
        f"Left out:\n\n{left_out}\n"
        f"## Figures, on {reading['reported_on']}\n\n{figures}\n## "
        f"Training\n\n{summary['epochs']} passes, "
        f"{summary['trees']} trees; {summary['rows']['valid']} of "
        f"{summary['rows']['train'] + summary['rows']['valid']} rows served to choose and "
        "calibrate.\n\n"
        "## Limits\n\nIt says who resembles those who left, not why, nor whom to call. A value it "
        "never saw is scored "
        "by the other columns.\n"
    )


def _columns(stored: dict[str, Any]) -> Columns:
    return replace(
        Columns(**stored),
        numeric=tuple(stored["numeric"]),
        categorical=tuple(stored["categorical"]),
    )
