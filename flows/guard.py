"""The guard flow: ends what was killed or hangs, and resumes what was answered meanwhile."""

from __future__ import annotations

from prefect import flow, get_run_logger

from flows.candidate import approval_form
from flows.runtime import heartbeats, prefect_hooks
from flows.runtime.context import context_of
from flows.runtime.settings import prepare


@flow(
    name="guard",
    flow_run_name="guard {site}",
    persist_result=False,
    on_failure=[prefect_hooks.failed],
)
def guard(site: str) -> list[str]:
    """Looks once at every heartbeat of the site; returns the names of what it ended as failed.

    Takes no lease: it has to see what holds the lease. It also resumes releases that are suspended
    for a decision which was answered where no server could be reached.
    """
    prepare()
    context = context_of(site)
    ended = [f"{beat.what} {beat.name} ({beat.id})" for beat in heartbeats.reap(context.settings)]
    for name in ended:
        get_run_logger().warning("%s ended as failed", name)
    if prefect_hooks.on_a_server():
        approval_form.resume_answered(context)
    return ended
