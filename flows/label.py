"""The labelling flow: hears new calls and labels new contacts with the active models."""

from __future__ import annotations

from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State

from flows.runtime import parts, prefect_hooks
from flows.runtime.lease import LeaseHeldError
from flows.tasks import Summaries, opened, skipped


@flow(
    name="label",
    flow_run_name="label {site}",
    persist_result=False,
    on_failure=[prefect_hooks.failed],
    on_crashed=[prefect_hooks.killed],
)
def label(
    site: str, store: str | None = None, only: list[str] | None = None
) -> Summaries | State[Any]:
    """Transcribes and labels what was ingested; returns the summaries of its stages by name.

    `only` names some of the stages transcribe, label and read. Models are the active ones, so a
    first retraining must have been. A scheduled run that finds somebody at work is skipped.
    """
    names = parts.label_stages(only)
    try:
        with opened(site, store, brief=True) as run:
            return run.stages(names)
    except LeaseHeldError as error:
        return skipped(error)
