"""The nightly flow: are the champions still as good as when promoted, and is the data as it was?"""

from __future__ import annotations

from typing import Any

from prefect import flow, get_run_logger

from flows.runtime import notifications, prefect_hooks, published
from flows.tasks import opened


@flow(
    name="evaluate",
    flow_run_name="evaluate {site}",
    persist_result=False,
    on_failure=[prefect_hooks.failed],
    on_crashed=[prefect_hooks.killed],
)
def evaluate(site: str, store: str | None = None) -> dict[str, Any]:
    """Scores the champions and returns the summary of the stage.

    `worse` in it lists the kinds that have become worse. People are notified of each, and where the
    stage says that a retraining is due, Prefect is told by one event a day.
    """
    with opened(site, store) as run:
        summary = run.stages(["nightly"])["nightly"]
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
        if summary.get("retrain"):
            published.emit_drift(run.context, str(summary["retrain"]), run.context.now())
    return {**summary, "worse": worse}
