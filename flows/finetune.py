"""The fine-tuning flow: trains a candidate of one kind of model and measures it."""

from __future__ import annotations

from prefect import flow

from flows.runtime import parts, prefect_hooks, published
from flows.tasks import Summaries, opened
from models.kinds import kind_of


@flow(
    name="finetune",
    flow_run_name="finetune {kind} {site}",
    persist_result=False,
    on_failure=[prefect_hooks.failed],
    on_crashed=[prefect_hooks.killed],
)
def finetune(site: str, kind: str, store: str | None = None) -> Summaries:
    """Trains, evaluates and probes a candidate; returns the summaries of its stages by name.

    Learns from the data as the last ingestion and labelling left it. Of several kinds each needs a
    run of its own. Raises UnknownKindError for a kind there is none of.
    """
    name = kind_of(kind).name
    with opened(site, store) as run:
        summaries = run.stages(parts.finetune_stages(name))
        if f"evaluate_{name}" in summaries:
            published.publish_figures(run.context, name, summaries[f"evaluate_{name}"])
        return summaries
