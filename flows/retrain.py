"""The retraining flow: the whole street, from an export to a released model and a report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from rich.console import Console

from data.files import read_json
from flows.runtime import approval_form, notifications, prefect_hooks
from flows.runtime.context import RunContext, load_context
from flows.runtime.settings import prepare
from flows.stages import runner

console = Console()


# Steps remember themselves (flows/marker.py): Prefect's own result files are not written atomically, and a truncated
# one would fail every later run. So a task is only the frame around a step: its name, its time, its state.
@task(name="step", task_run_name="{name}", cache_policy=NO_CACHE, persist_result=False)
def step(name: str, context: RunContext) -> dict[str, Any]:
    """Runs one step of the street; a finished one is reused."""
    summary, reused = runner.run_stage(context, name, console)
    console.print(runner.summary_row(name, summary, reused), highlight=False, soft_wrap=True)
    return summary


@flow(
    name="retrain",
    flow_run_name="retrain {store}",
    persist_result=False,
    on_failure=[prefect_hooks.failed],
    on_crashed=[prefect_hooks.killed],
)
def retrain(
    export: str | None = None,
    source: str = "auto",
    store: str | None = None,
    until: str | None = None,
    words: str | None = None,
) -> dict[str, Any]:
    """Walks the street once. `export` is a folder to take in (default: the simulator), `store` where artefacts go.

    `until` names the last step to take (default: all), `words` a file of terms to decode with.

    A refused candidate is not a failure: the flow completes, the champion stays, the decision says why. Where
    params.yaml asks for approval, a flow on a Prefect server pauses at its end until someone answers or its time is up.
    """
    prepare()  # a Prefect worker comes here without passing the command line
    places = {
        name: Path(path)
        for name, path in (("store", store), ("export", export), ("words", words))
        if path
    }
    context = load_context(source=source, **places)
    with prefect_hooks.guarded(context.settings):
        found = {name: step(name, context) for name in runner.stage_names(context, until)}
        # Asked last, so that nothing else waits for people. Until then, and on a "no", the champion stays in office.
        waiting = {
            name: one["waits"]
            for name, one in found.items()
            if name.startswith("release_") and one["waits"]
        }
        for name, decision_id in waiting.items():
            decided = read_json(context.path(f"decide_{name.removeprefix('release_')}.json"))
            how = f"Decision {decision_id}. `keepline approve {decision_id} --by NAME`, or answer in Prefect."
            notifications.notify(
                context.settings, "a candidate waits for approval", f"{decided['summary']} {how}"
            )
            if approval_form.on_a_server() and approval_form.ask(
                context, decision_id, decided["summary"]
            ):
                found[name] = step(name, context)
        return found
