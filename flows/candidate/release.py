"""Registers a candidate and promotes it if its decision was accepted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from data import artefacts
from data.files import read_json, write_json
from flows.candidate import approvals
from flows.candidate.runs import reopened
from models.registry.bundle import BundleError

if TYPE_CHECKING:
    from flows.runtime.context import RunContext


def release(context: RunContext, kind: str) -> dict[str, Any]:
    """Registers the candidate and moves the champion alias if its decision was accepted; writes release_<kind>.json.

    Where the decision waits for a person, the candidate becomes challenger until there is an answer. A version that a
    person rolled back is not promoted again by a schedule. `waits` in the summary is the decision nobody has answered.
    """
    from flows.candidate.probes import checksums, text_readers, text_readers_of
    from models.registry.registry import STOPPED

    decided = read_json(context.path(artefacts.DECIDE.of(kind)))
    record = read_json(context.path(artefacts.DECISIONS.of(kind)) / decided["record"])
    registry, actor, now = context.registry(), context.settings.actor, context.now()
    run_id = read_json(context.path(artefacts.TRAIN.of(kind)))["run_id"]
    try:
        version = registry.register(context.path(artefacts.BUNDLE.of(kind)), kind, run_id)
    except BundleError as error:
        # The gate has refused it for that already, unless it was changed since.
        if decided["verdict"] == "accepted":
            raise
        return _released(context, kind, None, decided, f"is not registered: {error}")
    verdict_tags = {"verdict": decided["verdict"], "decision_id": decided["decision_id"]}
    registry.annotate(
        kind, version, {**verdict_tags, "decision": f"runs:/{run_id}/decision/{decided['record']}"}
    )
    champion = registry.alias(kind, "champion")
    rolled_back = any(
        e.action == "rollback" and e.previous == version for e in registry.ledger(kind)
    )
    stopped = registry.version_tags(kind, version).get(STOPPED)
    approval = approvals.approval_of(context, decided["decision_id"])
    answer = approval["answer"] if approval else None
    if record["params"]["approval"] == "none":
        answer = "approved"
    waits = None
    if decided["verdict"] != "accepted":
        says = "refused by the gate; the champion stays"
    elif champion == version:
        says = "is the champion"
    elif rolled_back:
        says = "was rolled back by a person and is not promoted again; train another"
    elif stopped:
        says = f"was stopped by the service ({stopped}) and is not promoted; keepline readmit lifts that"
    elif text_readers_of(kind) and (
        record["facts"].get("readers_now") != checksums(text_readers(context, kind))
    ):
        says = (
            "is not promoted: another champion reads its text now than when it was judged. "
            "Run again to judge it anew"
        )
    elif answer == "approved":
        entry = registry.promote(
            kind,
            version,
            expected=champion,
            decision=record,
            actor=actor,
            now=now,
            approval=approval,
        )
        says = f"promoted, approved by {entry.approved_by}" if entry.approved_by else "promoted"
    elif answer == "refused" and approval:
        says = f"was refused by {approval['by']}; the champion stays"
    else:
        waits = decided["decision_id"]
        registry.challenge(kind, version, decision=record, actor=actor, now=now)
        says = f"waits for approval: keepline approve {waits} --by NAME"
    if waits is None and registry.alias(kind, "challenger") is not None:
        # A newer candidate was decided on, or this one was answered.
        registry.withdraw(kind, actor, now)
    if approval:
        with reopened(context, kind) as run:
            run.set_tags({"approval": approval["answer"], "approval_by": approval["by"]})
            run.log_artifact(
                context.path(artefacts.APPROVALS) / f"{decided['decision_id']}.json", "decision"
            )
        registry.annotate(
            kind, version, {"approval": approval["answer"], "approval_by": approval["by"]}
        )
    return _released(context, kind, version, decided, says, waits)


def _released(
    context: RunContext,
    kind: str,
    version: int | None,
    decided: Mapping[str, Any],
    says: str,
    waits: str | None = None,
) -> dict[str, Any]:
    champion = context.registry().alias(kind, "champion")
    summary = {
        "version": version,
        "champion": champion,
        "verdict": decided["verdict"],
        "says": says,
        "waits": waits,
    }
    write_json(context.path(artefacts.RELEASE.of(kind)), summary)
    return summary
