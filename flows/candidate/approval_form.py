"""Asks a person on a Prefect server for an approval.

The release flow suspends: its process ends and its worker is free. Whoever answers, in Prefect's
pages or with `keepline approve`, has it scheduled again, and it goes on with the answer.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    FlowFilter,
    FlowFilterName,
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.context import FlowRunContext
from prefect.deployments import run_deployment
from prefect.exceptions import ObjectNotFound
from prefect.flow_runs import resume_flow_run, suspend_flow_run
from prefect.input import RunInput

from flows.candidate import approvals
from flows.runtime.context import RunContext

RELEASE = "release"  # the flow that asks
_KEY = "approval-"  # and the decision: why a run is suspended


class Answer(RunInput):
    """What the form asks for when a model waits for approval."""

    approve: bool
    by: str
    note: str = ""


def can_suspend() -> bool:
    """Returns whether the flow that runs now can be suspended.

    Prefect suspends what a deployment started, and no flow within a flow.
    """
    context = FlowRunContext.get()
    run = context.flow_run if context else None
    return bool(run and run.deployment_id and run.parent_task_run_id is None)


def ask(context: RunContext, decision_id: str, summary: str) -> dict[str, Any]:
    """Suspends the flow until someone answers, then returns the answer.

    The first call ends the process. Prefect starts the flow anew with the answer, and the call of
    that process returns it. Without one in time Prefect ends the run as failed, and nothing has
    moved. An answer that may not be given (who trained the model approves it) raises ApprovalError
    and so fails the flow.
    """
    form = Answer.with_initial_data(
        description=(
            f"{summary}\n\nDecision {decision_id}: approve it? Who trained the model may not."
        ),
        approve=False,
        by="",
    )
    reply = suspend_flow_run(
        wait_for_input=form,
        timeout=int(context.params.gates.approval_wait_s),
        key=f"{_KEY}{decision_id}",
    )
    return approvals.answer(
        context, decision_id, "approved" if reply.approve else "refused", reply.by, reply.note
    )


def hand_over(context: RunContext, kind: str, decision_id: str) -> bool:
    """Has the site's release deployment ask for the approval, once a decision.

    Returns whether there is such a deployment.
    """
    try:
        run_deployment(
            f"{RELEASE}/{context.site}",
            parameters={"site": context.site, "kind": kind},
            timeout=0,
            as_subflow=False,
            idempotency_key=f"{_KEY}{decision_id}",
            tags=[f"site:{context.site}", f"decision:{decision_id}"],
        )
    except ObjectNotFound:
        return False
    return True


def resume(decision_id: str, record: dict[str, Any]) -> int:
    """Resumes the flows that are suspended for a decision, with its answer; returns how many."""
    resumed = 0
    for run, waits_for in _suspended():
        if waits_for == decision_id:
            reply = {"approve": record["answer"] == "approved", "by": record["by"]}
            resume_flow_run(run.id, run_input={**reply, "note": record.get("note", "")})
            resumed += 1
    return resumed


def resume_answered(context: RunContext) -> int:
    """Resumes the flows suspended for decisions of this store that have been answered meanwhile.

    For answers that were given where no server could be reached. Returns how many.
    """
    answers = {
        waits_for: approvals.approval_of(context, waits_for) for _, waits_for in _suspended()
    }
    return sum(resume(waits_for, record) for waits_for, record in answers.items() if record)


def _suspended() -> Iterator[tuple[FlowRun, str]]:
    """Yields the suspended release flows, each with the decision that it waits for."""
    with get_client(sync_client=True) as client:
        runs = client.read_flow_runs(
            flow_filter=FlowFilter(name=FlowFilterName(any_=[RELEASE])),
            flow_run_filter=FlowRunFilter(
                state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.PAUSED]))
            ),
        )
    for run in runs:
        key = (run.state.state_details.pause_key if run.state else None) or ""
        if key.startswith(_KEY):
            yield run, key.removeprefix(_KEY)
