"""Runs a stage by its name, or reuses what it left."""

from __future__ import annotations

from typing import Any

from rich.console import Console

from flows.runtime import progress, stage_cache
from flows.runtime.context import RunContext
from flows.runtime.graph import BY_NAME, STAGES
from flows.stages import asr, churn, prepare, reader, reporting, treatment

MODULES = (prepare, asr, reader, churn, treatment, reporting)


def run_stage(
    context: RunContext, name: str, console: Console, force: bool = False
) -> tuple[dict[str, Any], bool]:
    """Runs one step with a bar, or reuses what it left. Returns its summary and whether it was reused."""
    step = BY_NAME[name]
    module = next(part for part in MODULES if hasattr(part, name))
    function = getattr(module, name)
    wanted = stage_cache.stage_fingerprint(context, step)
    outs = [context.path(out) for out in step.outs]
    with progress.bar(console, step.title) as report:
        if force or step.always:
            stage_cache.forget(context.store, name)
        return stage_cache.run_once(
            context.store, name, wanted, outs, lambda: function(context, report)
        )


def stage_names(context: RunContext, until: str | None = None) -> list[str]:
    """The steps of one walk of the street, in order, up to `until`; a real export needs no simulator."""
    names = [step.name for step in STAGES if step.name != "simulate" or context.export is None]
    return names[: names.index(until) + 1] if until else names


def summary_row(name: str, summary: dict[str, Any], reused: bool) -> str:
    """What a finished step says on the screen."""
    unchanged = " [dim](unchanged)[/]" if reused else ""
    return f"[green]✓[/] {BY_NAME[name].title:<34} {summary_line(name, summary)}{unchanged}"


def summary_line(name: str, found: dict[str, Any]) -> str:
    """The one or two figures of a step's summary that a person watching wants to see."""
    tell = {
        "simulate": lambda: (
            f"{found['contacts']} contacts of {found['customers']} customers, {found['recordings']} calls"
        ),
        "ingest": lambda: (
            f"{sum(found['added'].values())} rows added, {found['refused']} things refused"
        ),
        "validate": lambda: (
            f"{found['rejected']} rows to quarantine, {found['accepted_audio_s'] / 3600:.1f} h accepted"
        ),
        "version": lambda: f"{found['dvc_hash'][:12]}, {found['size_bytes'] / 1e6:.0f} MB",
        "split": lambda: " ".join(f"{name} {count}" for name, count in found["customers"].items()),
        "cut": lambda: " ".join(
            f"{name} {part['utterances']}" for name, part in found["splits"].items()
        ),
        "pseudo": lambda: f"{found['added']} machine-heard turns to learn from",
        "train_asr": lambda: (
            f"validation WER {found['wer_before']:.1%} → {found['wer']:.1%} ({found['chosen']})"
        ),
        "evaluate_asr": lambda: _before_after(found, "wer", "{:.1%}"),
        "decide_asr": lambda: found["verdict"],
        "release_asr": lambda: f"v{found['version']} {found['says']}",
        "office_asr": lambda: found["model"],
        "transcribe": lambda: f"{found['words']} words in {found['calls']} calls",
        "label": lambda: (
            f"{found['readable']} of {found['contacts']} contacts read by {len(found['rules'])} rules"
        ),
        "train_reader": lambda: (
            f"{found['contacts']['train']} contacts, best of {found['epochs']} passes: {found['best_epoch']}"
        ),
        "evaluate_reader": lambda: _before_after(found, "label_errors", "{:.1%}"),
        "decide_reader": lambda: found["verdict"],
        "release_reader": lambda: f"v{found['version']} {found['says']}",
        "read": lambda: f"{found['changed']} of {found['labels']} labels changed by the reader",
        "features": lambda: f"{found['rows']} rows at {len(found['as_of'])} dates",
        "train_churn": lambda: (
            f"{found['epochs']} passes"
            + "".join(
                f"; nobody was followed for {days} days" for days in found["horizons_left_out"]
            )
        ),
        "evaluate_churn": lambda: _before_after(found, "brier", "{:.4f}"),
        "decide_churn": lambda: found["verdict"],
        "release_churn": lambda: f"v{found['version']} {found['says']}",
        "score": lambda: (
            f"{found['customers']} customers"
            + "".join(
                f"; {name} has values no training saw: {', '.join(new)}"
                for name, new in found["unseen"].items()
            )
        ),
    }
    return tell[name]() if name in tell else ""


def _before_after(found: dict[str, Any], metric: str, shown: str) -> str:
    before, after = (
        shown.format(found[role][metric]["value"]) for role in ("reference", "candidate")
    )
    return f"held-out {metric} {before} → {after}"
