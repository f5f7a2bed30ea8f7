"""The nightly flow: are the champions still as good as when promoted, and is the data as it was?"""

from __future__ import annotations

from typing import Any

from prefect import flow, get_run_logger

from flows.runtime import notifications, prefect_hooks, published
from flows.stages import runner
from flows.tasks import opened


@flow(
    name="evaluate",
    flow_run_name="evaluate {site}",
    persist_result=False,
    on_failure=[prefect_hooks.failed],
    on_crashed=[prefect_hooks.killed],
)
def evaluate(site: str, store: str | None = None) -> dict[str, Any]:
    """Takes in what came since yesterday, scores the champions on it and looks for drift.

    Returns the summary of the evaluation. `worse` in it lists the kinds that have become worse.
    People are notified of each. Where the evaluation finds a new cause for a retraining, Prefect is
    told by an event.
    """
    with opened(site, store) as run:
        summary = run.stages(runner.night_stage_names(run.context))["nightly"]
        worse = [kind for kind, model in summary["models"].items() if model["verdict"] == "worse"]
        for kind in worse:
            sentence = summary["models"][kind]["sentence"]
            get_run_logger().warning(
                "champion %s is worse than when it was promoted: %s", kind, sentence
            )
            notifications.notify(
                run.context.settings,
                f"the {kind} champion is worse than when it was promoted",
                sentence,
            )
        if summary["retrain"]:
            published.emit_drift(run.context, summary["event"])
    return {**summary, "worse": worse}
