"""Asks a person on a Prefect server for an approval.

The flow pauses until the form is filled in, or until its time is up.
"""

from __future__ import annotations

from typing import Any

from prefect.exceptions import FlowPauseTimeout
from prefect.flow_runs import pause_flow_run
from prefect.input import RunInput
from prefect.settings import get_current_settings

from flows.candidate import approvals
from flows.runtime.context import RunContext


class Answer(RunInput):
    """What the form asks for when a model waits for approval."""

    approve: bool
    by: str
    note: str = ""


def on_a_server() -> bool:
    """Returns whether Prefect's API is a server that people can look at.

    A flow run by hand has a server of its own, which nobody else sees.
    """
    return bool(get_current_settings().api.url)


def ask(context: RunContext, decision_id: str, summary: str) -> dict[str, Any] | None:
    """Pauses the flow until someone answers; returns the answer, None when nobody did in time.

    An answer that may not be given (who trained the model approves it) raises ApprovalError and so
    fails the flow.
    """
    form = Answer.with_initial_data(
        description=(
            f"{summary}\n\nDecision {decision_id}: approve it? Who trained the model may not."
        ),
        approve=False,
        by="",
    )
    try:
        reply = pause_flow_run(
            wait_for_input=form,
            timeout=int(context.params.gates.approval_wait_s),
            poll_interval=2,
            key=f"approval-{decision_id}",
        )
    except FlowPauseTimeout:
        return approvals.approval_of(context, decision_id)
    return approvals.answer(
        context, decision_id, "approved" if reply.approve else "refused", reply.by, reply.note
    )
