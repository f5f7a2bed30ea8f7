"""Picks the adapters: from settings and params.yaml to a street, and from a step's name to its run."""

from __future__ import annotations

import subprocess
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console

from flows import marker, progress
from flows.graph import BY_NAME, Step
from flows.params import read_params
from flows.settings import ROOT, from_environment
from flows.steps import Street


def street(store: Path | None = None, export: Path | None = None, kind: str = "auto", params: Path | None = None) -> Street:
    """The street as the environment and params.yaml describe it."""
    settings = from_environment(store=store)
    return Street(
        settings=settings,
        params=read_params(params or settings.params_file),
        git_commit=git_commit(),
        export=export,
        kind=kind,
    )


def git_commit() -> str:
    """The checkout's commit, with "+changes" when files differ from it; "unknown" outside a checkout."""
    try:
        found = subprocess.run(["git", "describe", "--always", "--abbrev=40", "--dirty=+changes", "--exclude=*"],
                               cwd=ROOT, capture_output=True, text=True, timeout=20)  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    return found.stdout.strip() or "unknown"


def run_step(street: Street, name: str, console: Console, force: bool = False) -> tuple[dict[str, Any], bool]:
    """Runs one step with a bar, or reuses what it left. Returns its summary and whether it was reused."""
    from flows import steps

    step = BY_NAME[name]
    function = getattr(steps, name)
    wanted = fingerprint(street, step)
    outs = [street.path(out) for out in step.outs]
    with progress.bar(console, step.title) as report:
        if force or step.always:
            marker.forget(street.store, name)
        return marker.once(street.store, name, wanted, outs, lambda: function(street, report))


def fingerprint(street: Street, step: Step) -> str:
    """What the step's result depends on: its needs, its code and its sections of params.yaml."""
    needs = [street.raw if need == "raw" else street.path(need) for need in step.needs]
    code = [ROOT / path for path in step.code]
    settings = {section: asdict(getattr(street.params, section)) for section in step.params}
    return marker.fingerprint(needs + code, {"step": step.name, "kind": street.kind if "raw" in step.needs else "", **settings})


def steps_for(street: Street) -> list[str]:
    """The steps of one walk of the street, in order; a real export needs no simulator."""
    return [name for name in BY_NAME if name != "simulate" or street.export is None]
