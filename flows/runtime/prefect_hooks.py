"""What the scheduled flows share: a heartbeat, and hooks for when one fails."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from prefect.runtime import flow_run as running
from prefect.settings import get_current_settings

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


def failed(flow: Any, flow_run: Any, state: Any) -> None:
    """Notifies people of a flow that raised. Prefect's hook in the flow's own process."""
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
    prepare()
    given = flow_run.parameters
    store, export = (Path(given[name]) if given.get(name) else None for name in ("store", "export"))
    try:
        place = find_place(site=given.get("site"), store=store, export=export)
    except SiteError:  # which is why it failed
        return from_environment(store=store)
    return from_environment(store=place.store)
