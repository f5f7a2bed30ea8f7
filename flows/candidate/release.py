"""Registers a candidate and promotes it if its decision was accepted."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from data import artefacts
from data.files import read_json, write_json
from flows.candidate import approvals
from flows.candidate.runs import reopened
from models.registry.bundle import BundleError

if TYPE_CHECKING:
    from flows.runtime.context import RunContext


class ReleaseState(StrEnum):
    """What becomes of a candidate that comes up for release.

    After the colon of a comment stands what `detail` holds in that state.
    """

    # Its bundle does not verify: the registry's error.
    UNREGISTERED = "unregistered"
    # The gate did not accept it.
    GATE_REFUSED = "gate_refused"
    # It is the champion already.
    CHAMPION = "champion"
    # A person rolled it back from champion; no schedule promotes it again.
    ROLLED_BACK = "rolled_back"
    # The service stopped it as unhealthy: the service's reason.
    STOPPED = "stopped"
    # A champion that reads its text is another than the one it was judged with.
    READER_CHANGED = "reader_changed"
    # It becomes champion: who approved it, if somebody had to.
    PROMOTED = "promoted"
    # A person refused it: who.
    PERSON_REFUSED = "person_refused"
    # Nobody has answered yet, so it becomes challenger: the decision that waits.
    WAITING = "waiting"


def describe_state(state: ReleaseState, detail: str = "") -> str:
    """The words that follow a version's name in summaries and on the terminal."""
    sentences = {
        ReleaseState.UNREGISTERED: f"is not registered: {detail}",
        ReleaseState.GATE_REFUSED: "refused by the gate; the champion stays",
        ReleaseState.CHAMPION: "is the champion",
        ReleaseState.ROLLED_BACK: (
            "was rolled back by a person and is not promoted again; train another"
        ),
        ReleaseState.STOPPED: (
            f"was stopped by the service ({detail}) and is not promoted; "
            "keepline readmit lifts that"
        ),
        ReleaseState.READER_CHANGED: (
            "is not promoted: another champion reads its text now than when it was judged. "
            "Run again to judge it anew"
        ),
        ReleaseState.PROMOTED: f"promoted, approved by {detail}" if detail else "promoted",
        ReleaseState.PERSON_REFUSED: f"was refused by {detail}; the champion stays",
        ReleaseState.WAITING: f"waits for approval: keepline approve {detail} --by NAME",
    }
    return sentences[state]


def release(context: RunContext, kind: str) -> dict[str, Any]:
    """Registers the candidate, moves the aliases as its decision says and returns the summary.

    Writes release_<kind>.json. Where the decision waits for a person, the candidate becomes
    challenger until there is an answer. A version that a person rolled back is not promoted again
    by a schedule. `waits` in the summary is the decision nobody has answered. Raises BundleError
    when an accepted candidate was changed after its decision.
    """
    decided = read_json(context.path(artefacts.DECIDE.of(kind)))
    record = read_json(context.path(artefacts.DECISIONS.of(kind)) / decided["record"])
    registry, actor, now = context.registry(), context.settings.actor, context.now()
    trained = read_json(context.path(artefacts.TRAIN.of(kind)))
    run_id = trained["run_id"]
    try:
        version = registry.register(
            context.path(artefacts.BUNDLE.of(kind)), kind, run_id, tags=trained.get("inputs")
        )
    except BundleError as error:
        # The gate has refused it for that already, unless it was changed since.
        if decided["verdict"] == "accepted":
            raise
        says = describe_state(ReleaseState.UNREGISTERED, str(error))
        return _write_summary(context, kind, decided, version=None, says=says)
    tags = {
        "verdict": decided["verdict"],
        "decision_id": decided["decision_id"],
        "decision": f"runs:/{run_id}/decision/{decided['record']}",
    }
    learned = read_json(context.path(artefacts.TRAIN.of(kind))).get("learned", {})
    tags |= {f"learned_{name}": str(value) for name, value in learned.items()}
    registry.annotate(kind, version, tags)
    champion = registry.alias(kind, "champion")
    approval = approvals.approval_of(context, decided["decision_id"])
    state, detail = _state_of(
        context, kind, version, decided=decided, record=record, approval=approval
    )
    if state is ReleaseState.PROMOTED:
        entry = registry.promote(
            kind,
            version,
            expected=champion,
            decision=record,
            actor=actor,
            now=now,
            approval=approval,
        )
        detail = entry.approved_by or ""
    elif state is ReleaseState.WAITING:
        registry.challenge(kind, version, decision=record, actor=actor, now=now)
    if state is not ReleaseState.WAITING and registry.alias(kind, "challenger") is not None:
        # A newer candidate was decided on, or this one was answered.
        registry.withdraw(kind, actor, now)
    if approval:
        tags = {"approval": approval["answer"], "approval_by": approval["by"]}
        answer = context.path(artefacts.APPROVALS) / f"{decided['decision_id']}.json"
        with reopened(context, kind) as run:
            run.set_tags(tags)
            run.log_artifact(answer, "decision")
        registry.annotate(kind, version, tags)
    waits = detail if state is ReleaseState.WAITING else None
    says = describe_state(state, detail)
    return _write_summary(
        context,
        kind,
        decided,
        version=version,
        says=says,
        waits=waits,
        promoted=state is ReleaseState.PROMOTED,
    )


def _state_of(
    context: RunContext,
    kind: str,
    version: int,
    *,
    decided: Mapping[str, Any],
    record: Mapping[str, Any],
    approval: Mapping[str, Any] | None,
) -> tuple[ReleaseState, str]:
    """The state of a registered candidate and its detail, before any alias is moved."""
    from flows.candidate.probes import checksums, text_readers, text_readers_of
    from models.registry.registry import STOPPED

    registry = context.registry()
    if decided["verdict"] != "accepted":
        return ReleaseState.GATE_REFUSED, ""
    if registry.alias(kind, "champion") == version:
        return ReleaseState.CHAMPION, ""
    if any(
        entry.action == "rollback" and entry.previous == version for entry in registry.ledger(kind)
    ):
        return ReleaseState.ROLLED_BACK, ""
    stopped = registry.version_tags(kind, version).get(STOPPED)
    if stopped:
        return ReleaseState.STOPPED, stopped
    if text_readers_of(kind):
        judged_with = record["facts"].get("readers_now")
        if judged_with != checksums(text_readers(context, kind)):
            return ReleaseState.READER_CHANGED, ""
    if record["params"]["approval"] == "none":
        return ReleaseState.PROMOTED, ""
    if approval and approval["answer"] == "approved":
        return ReleaseState.PROMOTED, ""
    if approval and approval["answer"] == "refused":
        return ReleaseState.PERSON_REFUSED, str(approval["by"])
    return ReleaseState.WAITING, str(decided["decision_id"])


def _write_summary(
    context: RunContext,
    kind: str,
    decided: Mapping[str, Any],
    *,
    version: int | None,
    says: str,
    waits: str | None = None,
    promoted: bool = False,
) -> dict[str, Any]:
    """Writes release_<kind>.json and returns its content."""
    summary = {
        "version": version,
        "champion": context.registry().alias(kind, "champion"),
        "verdict": decided["verdict"],
        "says": says,
        "waits": waits,
        "promoted": promoted,
    }
    write_json(context.path(artefacts.RELEASE.of(kind)), summary)
    return summary
