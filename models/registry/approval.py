"""A person's word on an accepted decision, where one is required: who may give it, and that it was not altered."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from models.registry.ledger import digest

APPROVALS = ("none", "required")
ANSWERS = ("approved", "refused")


class ApprovalError(ValueError):
    """This answer cannot be given, or is not what it says."""


def answered(
    decision: Mapping[str, Any], answer: str, by: str, now: datetime, note: str = ""
) -> dict[str, Any]:
    """The approval record of `decision`: decision_id, bundle_sha256, answer, by, note, at and its own id.

    Raises ApprovalError for a decision that the gate refused, without a name, and when who trained the model would
    approve it (four eyes; a model whose trainer is unknown can be approved by nobody).
    """
    said = f"decision {decision['decision_id']}"
    if answer not in ANSWERS:
        raise ApprovalError(f"{said}: the answer is {' or '.join(ANSWERS)}, not '{answer}'.")
    if decision["verdict"] != "accepted":
        raise ApprovalError(
            f"{said}: the gate refused this model, and a person cannot overrule it. Train another."
        )
    if not by.strip():
        raise ApprovalError(f"{said}: nobody's name is on the answer. Give one with --by.")
    trainer = str((decision.get("facts") or {}).get("trained_by") or "")
    if answer == "approved" and not trainer.strip():
        raise ApprovalError(
            f"{said}: nobody knows who trained this model, so nobody can be another. Train it again."
        )
    if answer == "approved" and _same(by, trainer):
        raise ApprovalError(
            f"{said}: {by} trained this model, and four eyes see more than two. Ask somebody else."
        )
    record = {
        "decision_id": decision["decision_id"],
        "bundle_sha256": decision["candidate"]["bundle_sha256"],
        "answer": answer,
        "by": by.strip(),
        "note": note.strip(),
        "at": now.isoformat(),
    }
    return {**record, "approval_id": digest(record)[:16]}


def approver(decision: Mapping[str, Any], approval: Mapping[str, Any] | None) -> str:
    """Who approved `decision`; empty where no approval is asked for. Raises ApprovalError when it is and is missing."""
    if (decision.get("params") or {}).get("approval") != "required":
        return ""
    said = f"decision {decision['decision_id']}"
    if approval is None:
        raise ApprovalError(
            f"{said} waits for approval. `keepline approve {decision['decision_id']} --by NAME`."
        )
    body = {key: value for key, value in approval.items() if key != "approval_id"}
    about = (decision.get("candidate") or {}).get("bundle_sha256")
    if (
        approval.get("approval_id") != digest(body)[:16]
        or body.get("decision_id") != decision["decision_id"]
    ):
        raise ApprovalError(
            f"{said}: its approval was altered, or is about another decision. Ask again."
        )
    if body["bundle_sha256"] != about:
        raise ApprovalError(f"{said}: its approval is about another bundle. Ask again.")
    if body["answer"] != "approved":
        raise ApprovalError(
            f"{said}: {body['by']} refused it{': ' + body['note'] if body['note'] else ''}."
        )
    if _same(body["by"], str((decision.get("facts") or {}).get("trained_by") or body["by"])):
        raise ApprovalError(f"{said}: {body['by']} trained this model and may not approve it.")
    return str(body["by"])


def _same(one: str, other: str) -> bool:
    return " ".join(one.split()).casefold() == " ".join(other.split()).casefold()
