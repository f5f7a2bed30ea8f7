"""Compared runs as an HTML page and on the terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from evaluation.compare import SHORT, Changes, Comparison, Difference
from evaluation.metrics.bootstrap import Interval
from evaluation.report import charts, formatting
from evaluation.report.page import page
from evaluation.scorecard import Estimate

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from evaluation.seeds import SeedComparison

_BLOCKS = "▁▂▃▄▅▆▇█"
_WIDEST = 32  # characters of a sparkline


def comparison_page(
    comparison: Comparison, listen: Callable[[Mapping[str, Any]], str | None] = lambda row: None
) -> str:
    """Returns a self-contained HTML page.

    `listen` gives the audio of a row of `Changes.worst` as a data: URI, or None.
    """
    values = {
        "comparison": comparison,
        "word_differences": formatting.word_differences,
        "short": SHORT,
        "curves": _curve_charts(comparison),
        "listen": listen,
    }
    return page("compare.html.j2", values)


def print_comparison(comparison: Comparison, console: Console) -> None:
    """Prints the comparison to the terminal, table by table."""
    from rich.markup import escape

    for note in comparison.notes:
        console.print(f"[yellow]{escape(note)}[/]")
    for table in _run_tables(comparison):
        console.print(table)
    if comparison.curves:
        console.print(_curve_table(comparison))
    if comparison.differences:
        console.print(_difference_table(comparison))
    if comparison.slices:
        console.print(_slice_table(comparison))
    for changes in comparison.changes:
        console.print(
            f"[bold]{escape(changes.other)}[/] against {escape(changes.first)} by test unit "
            f"({changes.metric}): {changes.better} better, {changes.same} the same, "
            f"{changes.worse} worse."
        )
        if changes.wholes.height:
            console.print(_whole_table(changes))
        if changes.worst.height:
            console.print(_worst_table(changes))


def _run_tables(comparison: Comparison) -> Iterator[Table]:
    """Yields the tables with a column for each run: data, parameters, metrics."""
    from rich.markup import escape
    from rich.table import Table

    runs = comparison.runs
    origins = dict.fromkeys(name for run in runs for name in run.learned_from)
    data = [(f"{comparison.scored_on} data", [run.tested_on[:SHORT] or "unknown" for run in runs])]
    data += [
        (name, [run.learned_from.get(name, "unknown")[:SHORT] for run in runs]) for name in origins
    ]
    params = [
        (name, [formatting.NOTHING if value is None else value for value in values])
        for name, values in comparison.params
    ]
    metrics = [
        (name, [_with_interval(estimate) for estimate in row]) for name, row in comparison.metrics
    ]
    labels = [escape(run.label) for run in runs]
    for title, rows in (
        ("Data", data),
        ("Parameters that differ", params),
        ("Metrics", metrics),
    ):
        table = Table("", *labels, title=title, title_justify="left", title_style="bold")
        for name, values in rows:
            table.add_row(escape(name), *map(escape, values))
        if rows:
            yield table


def _curve_table(comparison: Comparison) -> Table:
    from rich.markup import escape
    from rich.table import Table

    labels = [escape(run.label) for run in comparison.runs]
    table = Table("", *labels, title="Learning curves", title_justify="left", title_style="bold")
    for name, curves in comparison.curves:
        table.add_row(escape(name), *(sparkline([value for _, value in curve]) for curve in curves))
    return table


def sparkline(values: Sequence[float]) -> str:
    """Returns a line of block characters, one a value, with first and last value in figures.

    Long curves are thinned out. Empty without values.
    """
    if not values:
        return formatting.NOTHING
    thinned = [values[n * (len(values) - 1) // (_WIDEST - 1)] for n in range(_WIDEST)]
    shown = thinned if len(values) > _WIDEST else list(values)
    low, high = min(shown), max(shown)
    span = (high - low) or 1.0
    line = "".join(_BLOCKS[round((len(_BLOCKS) - 1) * (value - low) / span)] for value in shown)
    return f"{formatting.plain(values[0], 4)} {line} {formatting.plain(values[-1], 4)}"


def _curve_charts(comparison: Comparison) -> list[tuple[str, str]]:
    """Returns each metric with a chart of all runs' curves."""
    labels = [run.label for run in comparison.runs]
    return [
        (name, charts.curve_chart(name, list(zip(labels, curves, strict=True))))
        for name, curves in comparison.curves
    ]


def _difference_table(comparison: Comparison) -> Table:
    from rich.markup import escape
    from rich.table import Table

    table = Table(
        "metric",
        "of",
        "against",
        "gain",
        "95 % interval",
        "",
        title="Paired on the same test units",
    )
    for difference in comparison.differences:
        table.add_row(
            difference.metric,
            escape(difference.other),
            escape(difference.first),
            formatting.signed(difference.gain.value, 4),
            _ends(difference.gain),
            describe_difference(difference),
        )
    return table


def print_seeds(result: SeedComparison, console: Console) -> None:
    """Prints two settings over their seeds: mean, spread, gain with its interval."""
    from rich.markup import escape
    from rich.table import Table

    table = Table("setting", "seeds", f"mean {result.metric}", "SD between seeds")
    for setting in (result.first, result.other):
        sd = formatting.NOTHING if setting.sd is None else formatting.plain(setting.sd, 4)
        table.add_row(
            escape(setting.name), str(setting.seeds), formatting.plain(setting.mean, 4), sd
        )
    console.print(table)
    reading = (
        "no sure difference"
        if not result.is_significant
        else "better"
        if result.gain > 0
        else "worse"
    )
    console.print(
        f"{escape(result.other.name)} against {escape(result.first.name)} over "
        f"{len(result.seeds)} common seeds: gain {formatting.signed(result.gain, 4)} "
        f"(95 % {formatting.signed(result.low, 4)} to {formatting.signed(result.high, 4)}), "
        f"p {result.p:.3g}, {reading}. {result.seed_share:.0%} of the uncertainty comes from the "
        f"seeds, the rest from {result.clusters} clusters of validation data.",
        highlight=False,
        soft_wrap=True,
    )


def describe_difference(difference: Difference) -> str:
    """Returns "better", "worse" or "no sure difference"."""
    if not difference.is_significant:
        return "no sure difference"
    return "better" if difference.gain.value > 0 else "worse"


def _slice_table(comparison: Comparison) -> Table:
    from rich.markup import escape
    from rich.table import Table

    table = Table(
        "slice",
        "of",
        "against",
        "gain",
        "95 % interval",
        "p of no loss (Holm)",
        title="Within slices",
    )
    for change in comparison.slices:
        slice_gain = change.slice_gain
        gain = slice_gain.gain
        table.add_row(
            escape(f"{slice_gain.by} {slice_gain.value}"),
            escape(change.other),
            escape(change.first),
            formatting.signed(gain.value, 4),
            formatting.NOTHING if gain.low is None else _ends(gain),
            "too small to test" if slice_gain.p is None else f"{slice_gain.p:.3g}",
        )
    return table


def _whole_table(changes: Changes) -> Table:
    from rich.markup import escape
    from rich.table import Table

    table = Table(
        changes.whole,
        "before",
        "after",
        title=f"{changes.whole.capitalize()}s that lost or won most",
    )
    for name, before, after in changes.wholes.iter_rows():
        table.add_row(escape(name), f"{before:.4g}", f"{after:.4g}")
    return table


def _worst_table(changes: Changes) -> Table:
    from rich.markup import escape
    from rich.table import Table

    has_texts = "ref" in changes.worst.columns
    headings = ("said", "heard before", "heard after") if has_texts else ()
    table = Table("unit", "before", "after", *headings)
    for row in changes.worst.iter_rows(named=True):
        texts = [row[name] for name in ("ref", "hyp_before", "hyp_after")] if has_texts else []
        table.add_row(
            escape(row["unit"]), f"{row['before']:.4g}", f"{row['after']:.4g}", *map(escape, texts)
        )
    return table


def _ends(interval: Interval) -> str:
    return f"{formatting.signed(interval.low, 4)} to {formatting.signed(interval.high, 4)}"


def _with_interval(estimate: Estimate | None) -> str:
    if estimate is None:
        return formatting.NOTHING
    if estimate.low is None or estimate.high is None:
        return formatting.plain(estimate.value, 4)
    value, low, high = (
        formatting.plain(figure, 4) for figure in (estimate.value, estimate.low, estimate.high)
    )
    return f"{value} ({low} to {high})"
