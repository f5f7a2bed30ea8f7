"""The stages that are the same for every kind of model.

These are reference, decision, release and active model.
"""

from __future__ import annotations

from typing import Any

from data.progress import Progress
from flows.candidate import active_model, decision, scorecards
from flows.candidate import release as releases
from flows.runtime.context import RunContext


def reference(context: RunContext, progress: Progress, kind: str) -> dict[str, Any]:
    """Names the model to beat: the champion, or the baseline before there is one."""
    return scorecards.write_reference(context, kind)


def decide(context: RunContext, progress: Progress, kind: str) -> dict[str, Any]:
    """Puts the candidate through the gate, smoke test included, and writes the decision record."""
    return decision.decide(context, kind)


def release(context: RunContext, progress: Progress, kind: str) -> dict[str, Any]:
    """Registers the candidate and promotes it to champion if the gate accepted it."""
    return releases.release(context, kind)


def activate(context: RunContext, progress: Progress, kind: str) -> dict[str, Any]:
    """Names the active model: the champion, whatever the last candidate was."""
    return active_model.write_active_model(context, kind)
