"""The watching flow: does a champion do in service what it did in the examination?"""

from __future__ import annotations

from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State

from flows.runtime import prefect_hooks
from flows.runtime.lease import LeaseHeldError
from flows.tasks import opened, skipped


@flow(
    name="watch",
    flow_run_name="watch {site}",
    persist_result=False,
    on_failure=[prefect_hooks.failed],
    on_crashed=[prefect_hooks.killed],
)
def watch(site: str, store: str | None = None) -> dict[str, Any] | State[Any]:
    """Looks at champions since their release and returns the summary of the stage.

    A scheduled run that finds somebody at work in the store is skipped.
    """
    try:
        with opened(site, store, brief=True) as run:
            return run.stages(["watch"])["watch"]
    except LeaseHeldError as error:
        return skipped(error)
