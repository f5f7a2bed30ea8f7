"""Runs a stage by its name, or reuses its result, and summarises it in a line."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from rich.console import Console

from data import artefacts
from flows.candidate.kind_stages import stages_of
from flows.runtime import code, progress, stage_cache
from flows.runtime.context import RunContext
from flows.runtime.graph import BY_NAME, STAGES
from models.kinds import ModelKind, kind_of

Summary = dict[str, Any]


def run_stage(
    context: RunContext, name: str, console: Console, *, force: bool = False
) -> tuple[Summary, bool]:
    """Runs one stage with a progress bar, or reuses its result.

    Returns its summary and whether it was reused. `force` runs it in any case.
    """
    stage = BY_NAME[name]
    function = cast(Callable[..., Summary], code.load(stage.function))
    fingerprint = stage_cache.stage_fingerprint(context, stage)
    made = [context.path(artefact) for artefact in (*stage.makes, *stage.keeps)]
    of_kind = (stage.kind,) if stage.kind else ()
    # Stages need it, and before the first promotion nothing has made it. DVC refuses a need that is
    # not there.
    context.path(artefacts.REGISTRY).mkdir(parents=True, exist_ok=True)
    with progress.bar(console, stage.title) as report:
        if force or stage.always:
            stage_cache.forget(context.store, name)
        return stage_cache.run_once(
            context.store, name, fingerprint, made, lambda: function(context, report, *of_kind)
        )


def stage_names(context: RunContext, until: str | None = None) -> list[str]:
    """Returns the stages of one run, in order, up to `until`.

    A real export needs no simulator.
    """
    names = [stage.name for stage in STAGES if stage.name != "simulate" or context.export is None]
    return names[: names.index(until) + 1] if until else names


def summary_row(name: str, summary: Summary, reused: bool) -> str:
    """Returns what a finished stage prints on the screen."""
    unchanged = " [dim](unchanged)[/]" if reused else ""
    return f"[green]✓[/] {BY_NAME[name].title:<34} {summary_line(name, summary)}{unchanged}"


def summary_line(name: str, summary: Summary) -> str:
    """Returns the one or two figures of a summary that a person watching wants to see."""
    if name in _LINES:
        return _LINES[name](summary)
    role, _, kind = name.partition("_")
    if role == "train":
        return stages_of(kind).training_line(summary)
    if role == "evaluate":
        return _evaluated(kind_of(kind), summary)
    return _BY_ROLE[role](summary) if kind and role in _BY_ROLE else ""


def _evaluated(kind: ModelKind, summary: Summary) -> str:
    """Returns the shown metric of reference and candidate."""
    before, after = (
        kind.metric_format.format(summary[role][kind.metric]["value"])
        for role in ("reference", "candidate")
    )
    return f"held-out {kind.metric} {before} → {after}"


_BY_ROLE: dict[str, Callable[[Summary], str]] = {
    "decide": lambda summary: str(summary["verdict"]),
    "release": lambda summary: f"v{summary['version']} {summary['says']}",
    "active": lambda summary: str(summary["model"]),
}


_LINES: dict[str, Callable[[Summary], str]] = {
    "simulate": lambda summary: (
        f"{summary['contacts']} contacts of {summary['customers']} customers, "
        f"{summary['recordings']} calls"
    ),
    "ingest": lambda summary: (
        f"{sum(summary['added'].values())} rows added, {summary['refused']} refused"
    ),
    "validate": lambda summary: (
        f"{summary['rejected']} rows to quarantine, {summary['accepted_audio_s'] / 3600:.1f} h "
        "accepted"
    ),
    "version": lambda summary: f"{summary['dvc_hash'][:12]}, {summary['size_bytes'] / 1e6:.0f} MB",
    "split": lambda summary: (
        " ".join(f"{split} {count}" for split, count in summary["customers"].items())
        + (f", {summary['contacts_aside']} contacts aside" if summary["contacts_aside"] else "")
    ),
    "cut": lambda summary: " ".join(
        f"{split} {part['utterances']}" for split, part in summary["splits"].items()
    ),
    "pseudo": lambda summary: f"{summary['added']} machine transcripts to learn from",
    "transcribe": lambda summary: f"{summary['words']} words in {summary['calls']} calls",
    "label": lambda summary: (
        f"{summary['readable']} of {summary['contacts']} contacts read by "
        f"{len(summary['rules'])} rules"
    ),
    "read": lambda summary: (
        f"{summary['changed']} of {summary['labels']} labels changed by the reader"
    ),
    "features": lambda summary: f"{summary['rows']} rows at {len(summary['as_of'])} dates",
    "score": lambda summary: (
        f"{summary['customers']} customers"
        + "".join(
            f"; {column} has values no training saw: {', '.join(values)}"
            for column, values in summary["unseen"].items()
        )
    ),
}
