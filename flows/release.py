"""The release flow: moves the champion as the decision says, and puts the active model to use."""

from __future__ import annotations

from typing import Any

from prefect import flow

from data import artefacts
from data.files import read_json
from flows.candidate import approval_form
from flows.runtime import notifications, parts, prefect_hooks, published
from flows.tasks import Opened, Summaries, opened, run_stage
from models.kinds import kind_of


@flow(
    name="release",
    flow_run_name="release {kind} {site}",
    persist_result=False,
    on_failure=[prefect_hooks.failed],
    on_crashed=[prefect_hooks.killed],
)
def release(site: str, kind: str, store: str | None = None) -> Summaries:
    """Releases the judged candidate of one kind; returns the summaries of its stages by name.

    Where params.yaml asks for approval, a run of the deployment suspends until someone answers, and
    nothing has moved until then. A flow within a flow leaves that to the deployment `release/SITE`
    and goes on with the champion there is. Raises UnknownKindError for a kind there is none of.
    """
    name = kind_of(kind).name
    with opened(site, store) as run:
        first, *rest = parts.release_stages(name)
        summaries = run.stages([first])
        if summaries and summaries[first]["waits"]:
            summaries[first] = _ask(run, name, summaries[first])
        if summaries and summaries[first].get("promoted"):
            # People were told when the ledger's line was written (RunContext.registry).
            published.emit_promotion(run.context, name, summaries[first])
        return summaries | run.stages(rest)


def _ask(run: Opened, kind: str, released: dict[str, Any]) -> dict[str, Any]:
    """Asks for the approval that a release waits for; returns the release's newest summary."""
    context, decision_id = run.context, released["waits"]
    sentence = read_json(context.path(artefacts.DECIDE.of(kind)))["summary"]
    if approval_form.can_suspend():
        approval_form.ask(context, decision_id, f"{sentence}")
        return run_stage(context, f"release_{kind}")
    hint = f"Decision {decision_id}. `keepline approve {decision_id} --by NAME`"
    if prefect_hooks.on_a_server() and approval_form.hand_over(context, kind, decision_id):
        hint += ", or answer in Prefect"
    notifications.notify(context.settings, "a candidate waits for approval", f"{sentence} {hint}.")
    return released
