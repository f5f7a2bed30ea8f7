"""The retraining flow: the pipeline from an export to released models and a report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from rich.console import Console

from data import artefacts
from data.files import read_json
from data.versioning import VersionError
from flows.candidate import approval_form
from flows.runtime import dvc, notifications, prefect_hooks
from flows.runtime.context import RunContext, load_context
from flows.runtime.lease import lease
from flows.runtime.settings import prepare
from flows.stages import runner

console = Console()


# Stages are cached by Keepline (flows/runtime/stage_cache.py): Prefect's own result files are not
# written atomically, and a truncated one would fail every later run. So a task gives a stage its
# name, its time and its state.
@task(name="stage", task_run_name="{name}", cache_policy=NO_CACHE, persist_result=False)
def stage(name: str, context: RunContext) -> dict[str, Any]:
    """Runs one stage of the pipeline; a finished one is reused."""
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
    site: str | None = None,
) -> dict[str, Any]:
    """Runs the pipeline once and returns the stages' summaries by name.

    `site` names the contact centre. `export` is a folder to take in (default: the site's, or the
    simulator). `store` says where artefacts go instead of the site's store; an export without
    either gets a store of its own. `until` names the last stage to run (default: all), `words` a
    file of terms to decode with.

    A refused candidate is not a failure: the flow completes, the champion stays, and the decision
    says why. Where params.yaml asks for approval, a flow on a Prefect server pauses at its end
    until someone answers or its time is up.
    """
    prepare()  # a Prefect worker comes here without passing the command line
    places = {
        name: Path(path)
        for name, path in (("store", store), ("export", export), ("words", words))
        if path
    }
    named: dict[str, Any] = {"site": site} if site else {}
    context = load_context(source=source, **places, **named)
    with prefect_hooks.guarded(context.settings):
        with lease(context, holder=f"retrain {context.site}"):
            summaries = {name: stage(name, context) for name in runner.stage_names(context, until)}
            waiting = _waiting(summaries)
            if until is None and not waiting:
                _record_in_dvc(context)
        # Asked last and without the lease, so that nothing else waits for people. Until then, and
        # on a "no", the champion stays.
        for name, decision_id in waiting.items():
            decided = read_json(context.path(artefacts.DECIDE.of(name.removeprefix("release_"))))
            hint = (
                f"Decision {decision_id}. `keepline approve {decision_id} --by NAME`, or "
                "answer in Prefect."
            )
            notifications.notify(
                context.settings, "a candidate waits for approval", f"{decided['summary']} {hint}"
            )
            if approval_form.on_a_server() and approval_form.ask(
                context, decision_id, decided["summary"]
            ):
                summaries[name] = stage(name, context)
        if until is None and waiting:
            with lease(context, holder=f"retrain {context.site}"):
                _record_in_dvc(context)
        return summaries


def _waiting(summaries: dict[str, Any]) -> dict[str, str]:
    """Returns the decisions that wait for approval, by the stage that releases."""
    return {
        name: summary["waits"]
        for name, summary in summaries.items()
        if name.startswith("release_") and summary["waits"]
    }


def _record_in_dvc(context: RunContext) -> None:
    try:
        dvc.agree(context)
    except VersionError as error:  # the run itself is complete
        console.print(f"dvc.lock is not up to date: {error}", highlight=False)
