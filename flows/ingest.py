"""The ingestion flow: takes in what was delivered, checks, versions and divides it."""

from __future__ import annotations

from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State

from flows.runtime import parts, prefect_hooks, published
from flows.runtime.lease import LeaseHeldError
from flows.tasks import Summaries, opened, skipped


@flow(
    name="ingest",
    flow_run_name="ingest {site}",
    persist_result=False,
    on_failure=[prefect_hooks.failed],
    on_crashed=[prefect_hooks.killed],
)
def ingest(
    site: str,
    store: str | None = None,
    export: str | None = None,
    source: str = "auto",
    speech: bool = True,
) -> Summaries | State[Any]:
    """Merges a delivery into the site's tables; returns the summaries of its stages by name.

    `export` is a folder to take in instead of the site's own. Without `speech` no utterances are
    cut, which only a training of the recogniser needs. A scheduled run that finds somebody at work
    in the store is skipped: the next takes in the same.
    """
    try:
        with opened(site, store, export=export, source=source, brief=True) as run:
            names = parts.ingest_stages(simulated=run.context.export is None, speech=speech)
            summaries = run.stages(names)
            if "cut" in summaries:
                published.publish_hours(run.context)
            return summaries
    except LeaseHeldError as error:
        return skipped(error)
