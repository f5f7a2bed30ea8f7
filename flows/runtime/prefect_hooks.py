"""What the flows share: who may work on a store, a heartbeat, and hooks for when one fails."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from prefect.context import FlowRunContext
from prefect.runtime import flow_run as running
from prefect.settings import (
    PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
    get_current_settings,
    temporary_settings,
)

from flows.runtime import heartbeats, notifications
from flows.runtime.places import find_place
from flows.runtime.settings import Settings, from_environment, prepare
from flows.runtime.sites import SiteError


@contextmanager
def guarded(settings: Settings) -> Iterator[None]:
    """Ends what earlier processes left behind, then holds this flow's heartbeat."""
    heartbeats.reap(settings)
    # A flow run by hand has a server of its own, which dies with it.
    api = str(get_current_settings().api.url or "")
    with heartbeats.heartbeat(settings.store, "flow", str(running.id), str(running.name), api):
        yield


@contextmanager
def without_prefect_heartbeats() -> Iterator[None]:
    """Runs flows without Prefect's heartbeats; each would wait up to a second for them to end.

    For flows within a flow, whose own heartbeats go on, and for those without a server.
    """
    with temporary_settings(updates={PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
        yield


def on_a_server() -> bool:
    """Returns whether Prefect's API is a server that people can look at.

    A flow run by hand has a server of its own, which nobody else sees.
    """
    return bool(get_current_settings().api.url)


def is_deployed() -> bool:
    """Returns whether the flow that runs now was started from a deployment."""
    context = FlowRunContext.get()
    return bool(context and context.flow_run and context.flow_run.deployment_id)


def failed(flow: Any, flow_run: Any, state: Any) -> None:
    """Notifies people of a flow that raised. Prefect's hook in the flow's own process.

    Of a flow within a flow they hear once, from the outer one.
    """
    if flow_run.parent_task_run_id is not None:
        return
    notifications.notify(
        _settings(flow_run),
        f"{flow_run.name} failed",
        f"{state.message or state.name}\nRun {flow_run.id}.",
    )


def killed(flow: Any, flow_run: Any, state: Any) -> None:
    """Notifies people and ends the MLflow run of a flow whose process is gone.

    Prefect's hook in the worker.
    """
    heartbeats.reap(_settings(flow_run))


def _settings(flow_run: Any) -> Settings:
    """Returns the settings of a flow's site, those of the environment where the site is wrong."""
    prepare()
    given = flow_run.parameters
    store, export = (Path(given[name]) if given.get(name) else None for name in ("store", "export"))
    try:
        place = find_place(site=given.get("site"), store=store, export=export)
    except SiteError:  # which is why it failed
        return from_environment(store=store)
    return from_environment(store=place.store)
