"""Runs a stage by its name, or reuses its result, and summarises it in a line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from rich.console import Console
from rich.markup import escape

from data import artefacts
from flows.candidate.kind_stages import stages_of
from flows.runtime import code, notifications, progress, stage_cache
from flows.runtime.context import RunContext
from flows.runtime.graph import BY_NAME, INTAKE, NIGHT, STAGES, Stage
from flows.runtime.lease import lease
from flows.runtime.store_record import claim
from models.kinds import ModelKind, kind_of, kinds

Summary = dict[str, Any]
TAKES_IN = ("simulate", "ingest")  # stages that bring contacts into a store


def run_stage(
    context: RunContext, name: str, console: Console, *, force: bool = False
) -> tuple[Summary, bool]:
    """Runs one stage with a progress bar, or reuses its result.

    Returns its summary and whether it was reused. `force` runs it in any case. The store's lease is
    held meanwhile. Raises LeaseHeldError when another holds it too long, SiteError when the stage
    would take another contact centre's contacts into the store.
    """
    stage = BY_NAME[name]
    function = cast(Callable[..., Summary], code.load(stage.function))
    made = [context.path(artefact) for artefact in (*stage.makes, *stage.keeps)]
    of_kind = (stage.kind,) if stage.kind else ()
    with lease(context, holder=f"stage {name} of {context.site}"):
        claim(
            context.store,
            context.site,
            site_known=context.site_known,
            export=context.export,
            takes_in=name in TAKES_IN,
        )
        fingerprint = stage_cache.stage_fingerprint(context, stage)
        # Stages need it, and before the first promotion nothing has made it. DVC refuses a need
        # that is not there.
        context.path(artefacts.REGISTRY).mkdir(parents=True, exist_ok=True)
        with progress.bar(console, stage.title) as report:
            if force or stage.always or _is_refuted(context, stage, fingerprint, made, console):
                stage_cache.forget(context.store, name)
            return stage_cache.run_once(
                context.store, name, fingerprint, made, lambda: function(context, report, *of_kind)
            )


def _is_refuted(
    context: RunContext, stage: Stage, fingerprint: str, made: list[Path], console: Console
) -> bool:
    """Returns whether something outside the store speaks against reusing the stage's result.

    People are told what it is.
    """
    if not stage.confirm or not stage_cache.is_current(
        context.store, stage.name, fingerprint, made
    ):
        return False
    problem = cast(Callable[..., str], code.load(stage.confirm))(context)
    if problem:
        console.print(f"[yellow]{escape(problem)}[/]", highlight=False, soft_wrap=True)
        notifications.notify(context.settings, f"{stage.title} again", problem)
    return bool(problem)


def stage_names(context: RunContext, until: str | None = None) -> list[str]:
    """Returns the stages of one run, in order, up to `until`.

    A real export needs no simulator.
    """
    names = [stage.name for stage in STAGES if stage.name != "simulate" or context.export is None]
    return names[: names.index(until) + 1] if until else names


def night_stage_names(context: RunContext) -> list[str]:
    """Returns the stages of one night, in order.

    Before the first run there is no model to read or score with, so only the intake and the
    evaluation are among them.
    """
    judged = all(context.path(artefacts.DECIDE.of(kind.name)).exists() for kind in kinds())
    return [*INTAKE, *(NIGHT if judged else ("nightly", "watch"))]


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
    if role == "assess":
        return _assessed(kind_of(kind), summary)
    return _BY_ROLE[role](summary) if kind and role in _BY_ROLE else ""


def _assessed(kind: ModelKind, summary: Summary) -> str:
    """Returns the shown metric of the candidate with its interval on validation data."""
    figure = summary["candidate"][kind.metric]
    ends = (
        ""
        if figure["low"] is None
        else f" [{kind.metric_format.format(figure['low'])}, "
        f"{kind.metric_format.format(figure['high'])}]"
    )
    return f"validation {kind.metric} {kind.metric_format.format(figure['value'])}{ends}"


def _evaluated(kind: ModelKind, summary: Summary) -> str:
    """Returns the shown metric of reference and candidate."""
    before, after = (
        kind.metric_format.format(summary[role][kind.metric]["value"])
        for role in ("reference", "candidate")
    )
    return f"held-out {kind.metric} {before} → {after}"


_BY_ROLE: dict[str, Callable[[Summary], str]] = {
    "decide": lambda summary: (
        summary["verdict"] + (f", {n} unproven" if (n := len(summary.get("unproven", ()))) else "")
    ),
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
