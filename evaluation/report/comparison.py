"""Compared runs as a page and on the terminal."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from evaluation.compare import _SHORT, Comparison
from evaluation.report import formatting
from evaluation.report.page import page
from evaluation.scorecard import Estimate

if TYPE_CHECKING:
    from rich.console import Console


def comparison_page(
    comparison: Comparison, listen: Callable[[Mapping[str, Any]], str | None] = lambda row: None
) -> str:
    """A self-contained HTML page. `listen` gives the sound of a row of `Changes.worst` as a data: URI, or None."""
    values = {
        "comparison": comparison,
        "spoken": formatting.differences,
        "short": _SHORT,
        "listen": listen,
    }
    return page("compare.html.j2", values)


def print_comparison(comparison: Comparison, console: Console) -> None:
    """The same for the terminal."""
    from rich.markup import escape
    from rich.table import Table

    labels = [escape(run.label) for run in comparison.runs]
    for note in comparison.notes:
        console.print(f"[yellow]{escape(note)}[/]")
    sections: list[tuple[str, list[tuple[str, list[str]]]]] = [
        (
            "Data",
            [
                ("test data", [run.tested_on[:_SHORT] or "unknown" for run in comparison.runs]),
                *(
                    (
                        name,
                        [run.learned_from.get(name, "unknown")[:_SHORT] for run in comparison.runs],
                    )
                    for name in dict.fromkeys(
                        name for run in comparison.runs for name in run.learned_from
                    )
                ),
            ],
        ),
        (
            "Parameters that differ",
            [
                (name, [formatting.NOTHING if v is None else v for v in values])
                for name, values in comparison.params
            ],
        ),
        (
            "Metrics",
            [(name, [_shown(estimate) for estimate in row]) for name, row in comparison.metrics],
        ),
    ]
    for title, rows in sections:
        table = Table("", *labels, title=title, title_justify="left", title_style="bold")
        for name, values in rows:
            table.add_row(escape(name), *map(escape, values))
        if rows:
            console.print(table)
    if comparison.differences:
        table = Table(
            "metric",
            "of",
            "against",
            "gain",
            "95 % interval",
            "",
            title="Paired on the same test units",
        )
        for found in comparison.differences:
            said = (
                "no sure difference"
                if not found.sure
                else "better"
                if found.gain.value > 0
                else "worse"
            )
            ends = (
                f"{formatting.signed(found.gain.low, 4)} to {formatting.signed(found.gain.high, 4)}"
            )
            gained = formatting.signed(found.gain.value, 4)
            table.add_row(
                found.metric, escape(found.other), escape(found.first), gained, ends, said
            )
        console.print(table)
    if comparison.slices:
        table = Table(
            "slice",
            "of",
            "against",
            "gain",
            "95 % interval",
            "p of no loss (Holm)",
            title="Within slices",
        )
        for one in comparison.slices:
            inside = one.found.gain
            ends = (
                formatting.NOTHING
                if inside.low is None
                else (f"{formatting.signed(inside.low, 4)} to {formatting.signed(inside.high, 4)}")
            )
            p = "too small to test" if one.found.p is None else f"{one.found.p:.3g}"
            table.add_row(
                escape(f"{one.found.by} {one.found.value}"),
                escape(one.other),
                escape(one.first),
                formatting.signed(inside.value, 4),
                ends,
                p,
            )
        console.print(table)
    for change in comparison.changes:
        console.print(
            f"[bold]{escape(change.other)}[/] against {escape(change.first)} by test unit ({change.metric}): "
            f"{change.better} better, {change.same} the same, {change.worse} worse."
        )
        if change.wholes.height:
            table = Table(
                change.whole,
                "before",
                "after",
                title=f"{change.whole.capitalize()}s that lost or won most",
            )
            for name, before, after in change.wholes.iter_rows():
                table.add_row(escape(name), f"{before:.4g}", f"{after:.4g}")
            console.print(table)
        if change.worst.height:
            heard = "ref" in change.worst.columns
            table = Table(
                "unit",
                "before",
                "after",
                *(("said", "heard before", "heard after") if heard else ()),
            )
            for row in change.worst.iter_rows(named=True):
                texts = (
                    [escape(row[name]) for name in ("ref", "hyp_before", "hyp_after")]
                    if heard
                    else []
                )
                table.add_row(
                    escape(row["unit"]), f"{row['before']:.4g}", f"{row['after']:.4g}", *texts
                )
            console.print(table)


def _shown(estimate: Estimate | None) -> str:
    if estimate is None:
        return formatting.NOTHING
    if estimate.low is None or estimate.high is None:
        return formatting.plain(estimate.value, 4)
    value, low, high = (
        formatting.plain(figure, 4) for figure in (estimate.value, estimate.low, estimate.high)
    )
    return f"{value} ({low} to {high})"
