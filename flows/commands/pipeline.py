"""The commands `keepline demo`, `keepline run` and `keepline hear`: the pipeline on a terminal."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from data import artefacts
from flows.runtime.context import load_context
from flows.runtime.settings import from_environment, use_prefect_home
from flows.runtime.store_record import check_contacts
from models.kinds import ASR, kind_names, kind_of


def demo(console: Console, store: Path | None) -> None:
    """Runs the pipeline on the simulated contact centre, then asks the service for answers."""
    started = time.monotonic()
    store = store or from_environment().store
    summaries = run_pipeline(console, None, source="auto", store=store, closing=False)
    from flows.commands.serve import ask

    console.rule("the service answers", style="dim")
    ask(console, load_context(store))
    print_summary(console, store, summaries, time.monotonic() - started)


def run_pipeline(
    console: Console,
    export: Path | None,
    *,
    source: str,
    store: Path | None,
    closing: bool = True,
    until: str | None = None,
    words: Path | None = None,
) -> dict[str, Any]:
    """Runs the pipeline once in this process and returns the stages' summaries by name.

    `until` names the last stage (None: all), `words` is a file of terms to decode with. A given
    export gets a store of its own unless `store` says otherwise.
    """
    started = time.monotonic()
    context = load_context(store, export, source=source, words=words)
    home, export = context.store, context.export
    check_contacts(home, context.site, simulated=export is None, export=export)
    if export is not None and context.source == "auto":
        from data.sources import detect

        detect(export)  # says at once what is wrong with the folder, before Prefect starts
    home.mkdir(parents=True, exist_ok=True)
    use_prefect_home(home)
    console.print(f"store {home}", style="dim", highlight=False)
    with console.status("starting Prefect …"):
        from flows.retrain import retrain
        from flows.runtime.prefect_hooks import without_prefect_heartbeats

    given, terms = (str(path.resolve()) if path else None for path in (export, words))
    with without_prefect_heartbeats():
        summaries = retrain(
            site=context.site,
            store=str(home),
            export=given,
            source=context.source,
            until=until,
            words=terms,
        )
    assert isinstance(summaries, dict)  # it is skipped only where a cause is named
    if closing:
        print_summary(console, home, summaries, time.monotonic() - started)
    return summaries


def print_summary(console: Console, store: Path, summaries: dict[str, Any], seconds: float) -> None:
    """Prints what was decided and where to look next."""
    table = Table(box=None, pad_edge=False)
    for column in ("model", "measure", "before", "after", "verdict", "serving"):
        table.add_column(column, justify="right" if column in ("before", "after") else "left")
    for kind in kind_names():
        if f"release_{kind}" in summaries:
            table.add_row(*verdict(kind, summaries))
    console.rule("what came of it", style="dim")
    console.print(table)
    for note in notes(summaries):
        console.print(f"\n{escape(note)}", highlight=False)
    if "treat" in summaries:
        console.print(f"\n{treatment_note(summaries['treat'])}", highlight=False)
    console.print(
        f"\n{seconds:.0f} s. [bold]keepline ui[/] shows the runs, [bold]keepline decisions[/] why."
    )
    if "report" in summaries:
        console.print(
            f"The report is at [bold]{store / artefacts.REPORT.path / 'index.html'}[/]",
            soft_wrap=True,
            highlight=False,
        )
    else:
        console.print(
            f"What was heard is in [bold]{store / artefacts.TRANSCRIPTS.path}[/]",
            soft_wrap=True,
            highlight=False,
        )


def notes(summaries: dict[str, Any]) -> list[str]:
    """Returns what stages have to say to whoever started them."""
    taken = summaries.get("ingest", {})
    left_out = [
        f"Not taken in ({count}): {reason}. {taken['next_steps'][reason]}"
        for reason, count in taken.get("reasons", {}).items()
        if "next_steps" in taken  # a stage reused from an older version has none
    ]
    unproven = [
        f"Unproven of the {kind_of(kind).title.lower()}: {'; '.join(decided['unproven'])}."
        for kind in kind_names()
        if (decided := summaries.get(f"decide_{kind}", {})).get("unproven")
    ]
    adapted = summaries.get(f"train_{ASR.name}", {}).get("adaptation", {})
    return (
        left_out
        + unproven
        + [
            summary["says"]
            for summary in (adapted, summaries.get(f"active_{ASR.name}", {}))
            if summary.get("says")
        ]
    )


def treatment_note(summary: dict[str, Any]) -> str:
    """Returns one sentence on whom to treat and what the choice rests on.

    treatments.parquet lists the customers.
    """
    if summary["basis"] != "uplift":
        return (
            f"To treat: the {summary['treat']} riskiest customers; "
            "there is too little to tell whom an offer would keep."
        )
    return (
        f"To treat: {summary['treat']} of {summary['customers']} customers, expected to keep "
        f"{summary['expected_kept']:.1f} and to earn {summary['expected_profit']:.0f}."
    )


def verdict(kind: str, summaries: dict[str, Any]) -> tuple[str, ...]:
    """Returns a row: model, metric, before, after, the gate's verdict, what serves now."""
    evaluation = summaries[f"evaluate_{kind}"]
    row = kind_of(kind)
    metric, shown = row.metric, row.metric_format
    before, after = (evaluation[role][metric] for role in ("reference", "candidate"))
    ends = (
        f" [{shown.format(after['low'])}, {shown.format(after['high'])}]"
        if after["low"] is not None
        else ""
    )
    decided, released = summaries[f"decide_{kind}"], summaries[f"release_{kind}"]
    open_points = len(decided.get("unproven", ()))
    champion = f"{kind} v{released['champion']}" if released["champion"] else "nothing yet"
    return (
        kind,
        row.metric_title,
        shown.format(before["value"]),
        shown.format(after["value"]) + ends,
        decided["verdict"] + (f", {open_points} unproven" if open_points else ""),
        champion,
    )
