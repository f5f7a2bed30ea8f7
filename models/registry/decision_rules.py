"""Rules that a decision record has to meet before a model may become champion by it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from models.kinds import kind_names, kind_of
from models.registry.approval import APPROVALS
from models.registry.ledger import decision_id


def describe_gaps(decision: Mapping[str, Any]) -> str:
    """Returns what an accepted record leaves out, as the end of a sentence; empty if nothing."""
    # The gate discovers its checks by itself. What it has to ask of a kind is listed in models.kinds
    # once more, so that a record which leaves a check out cannot promote a model.
    if decision.get("kind") not in kind_names():
        return "does not say which kind of model it is about"
    required = kind_of(str(decision["kind"])).all_checks
    recorded = {check["name"] for check in decision.get("checks") or ()}
    missing = [name for name in required if name not in recorded]
    if missing:
        return f"says nothing about {', '.join(missing)}"
    if (decision.get("params") or {}).get("approval") not in APPROVALS:
        return "does not say whether a person has to approve"
    return ""


def refusal_reason(decision: Mapping[str, Any], bundle_sha256: str) -> str:
    """Returns why `decision` does not allow promoting the bundle; empty if it does.

    The record has to be unaltered, accepted, complete, with every check passed, skipped or
    unproven (which the summary states), and about this very bundle.
    """
    if decision.get("decision_id") != decision_id(decision):
        return "has been altered since it was made. Decide again."
    if decision.get("verdict") != "accepted":
        return "refused it. Read its record for the checks that failed."
    if failed := _not_passed(decision):
        return f"accepts it although {', '.join(failed)} did not pass. Decide again."
    if gaps := describe_gaps(decision):
        return f"{gaps}. Decide again."
    judged = (decision.get("candidate") or {}).get("bundle_sha256")
    if not bundle_sha256 or judged != bundle_sha256:
        return f"is about another bundle ({str(judged)[:12]}, not {bundle_sha256[:12]})."
    return ""


def doubt(decision: Mapping[str, Any], model: str, named: str, bundle_sha256: str) -> str:
    """Returns why a ledger line is not believed by the record of its decision; empty if it is.

    `model`, `named` (the decision's id) and `bundle_sha256` are what the line says. A model has the
    name of its kind, with a hyphen and more where one server holds several of a kind. Which checks
    a record has to hold is not asked again: the gate may have got further ones since.
    """
    if decision.get("decision_id") != named or named != decision_id(decision):
        return "has been altered since it was made"
    if model.partition("-")[0] != decision.get("kind"):
        return f"is about {decision.get('kind')}"
    if decision.get("verdict") != "accepted":
        return "refused it"
    if not decision.get("checks"):
        return "rests on no check"
    if failed := _not_passed(decision):
        return f"accepts it although {', '.join(failed)} did not pass"
    judged = str((decision.get("candidate") or {}).get("bundle_sha256"))
    if not bundle_sha256 or judged != bundle_sha256:
        return f"is about another bundle ({judged[:12]}, not {bundle_sha256[:12]})"
    return ""


def _not_passed(decision: Mapping[str, Any]) -> list[str]:
    return [
        check["name"]
        for check in decision.get("checks", ())
        if check["verdict"] not in ("pass", "unproven", "skipped")
    ]
