"""The nightly flow: checks whether the champions are still as good as when promoted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prefect import flow, get_run_logger

from flows.retrain import stage
from flows.runtime import notifications, prefect_hooks
from flows.runtime.context import load_context
from flows.runtime.lease import lease
from flows.runtime.settings import prepare


@flow(
    name="evaluate",
    flow_run_name="evaluate {store}",
    persist_result=False,
    on_failure=[prefect_hooks.failed],
    on_crashed=[prefect_hooks.killed],
)
def evaluate(store: str | None = None, site: str | None = None) -> dict[str, Any]:
    """Scores the champions on today's test data and returns the summary of the stage.

    `site` names the contact centre, or `store` its store (default: the simulator's).
    `worse` in it lists the kinds that have become worse. People are notified of each.
    """
    prepare()  # a Prefect worker comes here without passing the command line
    context = load_context(store=Path(store) if store else None, site=site)
    with (
        prefect_hooks.guarded(context.settings),
        lease(context, holder=f"evaluate {context.site}"),
    ):
        summary = stage("nightly", context)
    worse = [kind for kind, model in summary["models"].items() if model["verdict"] == "worse"]
    for kind in worse:
        sentence = summary["models"][kind]["sentence"]
        get_run_logger().warning(
            "champion %s is worse than when it was promoted: %s", kind, sentence
        )
        notifications.notify(
            context.settings, f"the {kind} champion is worse than when it was promoted", sentence
        )
    return {**summary, "worse": worse}
