"""Approvals: a person's answer to an accepted decision, and who may give it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any

from models.registry.ledger import digest


class ApprovalMode(StrEnum):
    """Whether a person has to approve an accepted decision. The values are those of params.yaml."""

    # The gate's verdict is enough.
    NONE = "none"
    # The candidate stays challenger until a person has approved it.
    REQUIRED = "required"


class Answer(StrEnum):
    """What a person answered. The values are stored in approval records."""

    # The candidate may be promoted.
    APPROVED = "approved"
    # The champion stays.
    REFUSED = "refused"


APPROVALS = tuple(ApprovalMode)


class ApprovalError(ValueError):
    """An answer that cannot be given, or a record that was altered or is about something else."""


def make_approval(
    decision: Mapping[str, Any], answer: str, *, by: str, now: datetime, note: str = ""
) -> dict[str, Any]:
    """Returns the approval record of `decision`.

    It holds decision_id, bundle_sha256, answer, by, note, at and its own approval_id. Raises
    ApprovalError for a decision that the gate refused, for an answer without a name, and where the
    person who trained the model would approve it (four eyes). A model whose trainer is unknown can
    be approved by nobody.
    """
    subject = f"decision {decision['decision_id']}"
    if answer not in tuple(Answer):
        raise ApprovalError(f"{subject}: the answer is {' or '.join(Answer)}, not '{answer}'.")
    if decision["verdict"] != "accepted":
        raise ApprovalError(
            f"{subject}: the gate refused this model, and a person cannot overrule it. "
            "Train another."
        )
    if not by.strip():
        raise ApprovalError(f"{subject}: nobody's name is on the answer. Give one with --by.")
    trainer = str((decision.get("facts") or {}).get("trained_by") or "")
    if answer == Answer.APPROVED and not trainer.strip():
        raise ApprovalError(
            f"{subject}: nobody knows who trained this model, so nobody can be another. "
            "Train it again."
        )
    if answer == Answer.APPROVED and _is_same_person(by, trainer):
        raise ApprovalError(
            f"{subject}: {by} trained this model, and four eyes see more than two. "
            "Ask somebody else."
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


def find_approver(decision: Mapping[str, Any], approval: Mapping[str, Any] | None) -> str:
    """Returns who approved `decision`, or an empty text where no approval is required.

    Raises ApprovalError where one is required and is missing, altered, about another decision or
    bundle, a refusal, or given by the person who trained the model.
    """
    if (decision.get("params") or {}).get("approval") != ApprovalMode.REQUIRED:
        return ""
    subject = f"decision {decision['decision_id']}"
    if approval is None:
        raise ApprovalError(
            f"{subject} waits for approval. `keepline approve {decision['decision_id']} --by NAME`."
        )
    body = {key: value for key, value in approval.items() if key != "approval_id"}
    if (
        approval.get("approval_id") != digest(body)[:16]
        or body.get("decision_id") != decision["decision_id"]
    ):
        raise ApprovalError(
            f"{subject}: its approval was altered, or is about another decision. Ask again."
        )
    if body["bundle_sha256"] != (decision.get("candidate") or {}).get("bundle_sha256"):
        raise ApprovalError(f"{subject}: its approval is about another bundle. Ask again.")
    if body["answer"] != Answer.APPROVED:
        raise ApprovalError(
            f"{subject}: {body['by']} refused it{': ' + body['note'] if body['note'] else ''}."
        )
    trainer = str((decision.get("facts") or {}).get("trained_by") or body["by"])
    if _is_same_person(body["by"], trainer):
        raise ApprovalError(f"{subject}: {body['by']} trained this model and may not approve it.")
    return str(body["by"])


def _is_same_person(name: str, other: str) -> bool:
    return " ".join(name.split()).casefold() == " ".join(other.split()).casefold()
