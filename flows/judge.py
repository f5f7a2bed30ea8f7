"""The judging flow: puts the candidate of one kind of model through the gate."""

from __future__ import annotations

from prefect import flow

from flows.runtime import parts, prefect_hooks, published
from flows.tasks import Summaries, opened
from models.kinds import kind_of


@flow(
    name="judge",
    flow_run_name="judge {kind} {site}",
    persist_result=False,
    on_failure=[prefect_hooks.failed],
    on_crashed=[prefect_hooks.killed],
)
def judge(site: str, kind: str, store: str | None = None) -> Summaries:
    """Writes the decision record of the candidate and publishes it; returns its stage's summary.

    A refused candidate is not a failure. Raises UnknownKindError for a kind there is none of.
    """
    name = kind_of(kind).name
    with opened(site, store) as run:
        summaries = run.stages(parts.judge_stages(name))
        if f"decide_{name}" in summaries:
            published.publish_decision(run.context, name, summaries[f"decide_{name}"])
        return summaries
