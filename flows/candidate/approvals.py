"""People's answers to decisions that wait for one: written once, beside the decisions, and told to MLflow."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data import artefacts
from data.files import read_json
from models.registry.approval import ApprovalError, make_approval

if TYPE_CHECKING:
    from flows.runtime.context import RunContext


def answer(context: RunContext, which: str, word: str, by: str, note: str = "") -> dict[str, Any]:
    """Writes approvals/<decision>.json for the one decision whose id begins with `which`; the first answer stands.

    Raises ApprovalError when there is no such decision, when it asked for no approval, when it has been answered
    otherwise, when the service stopped what would be approved, and for the reasons of models.approval.
    """
    from evaluation.gates.record import validate_record

    decision = read_json(_decision(context, which))
    validate_record(decision)
    if decision["params"]["approval"] != "required":
        raise ApprovalError(
            f"decision {decision['decision_id']} asked for no approval: gates.{decision['kind']}.approval was not "
            "'required' in params.yaml when it was made."
        )
    record = make_approval(decision, word, by=by, now=context.now(), note=note)
    path = context.path(artefacts.APPROVALS) / f"{decision['decision_id']}.json"
    if word == "approved" and not path.exists():
        _refuse_stopped(context, decision)
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(record, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
    try:
        _write_once(path, text)
    except FileExistsError:
        before = read_json(path)
        if (before["answer"], before["by"]) != (record["answer"], record["by"]):
            raise ApprovalError(
                f"decision {decision['decision_id']}: {before['by']} has {before['answer']} it already. An answer "
                "stands; train another model to be asked again."
            ) from None
        return dict(before)
    return record


def approval_of(context: RunContext, decision_id: str) -> dict[str, Any] | None:
    """The answer to a decision, or None while nobody has given one."""
    path = context.path(artefacts.APPROVALS) / f"{decision_id}.json"
    return read_json(path) if path.exists() else None


def _refuse_stopped(context: RunContext, decision: dict[str, Any]) -> None:
    """Raises ApprovalError when the service has found the version that waits for this decision unhealthy."""
    from models.registry.registry import STOPPED

    kind, released = decision["kind"], context.path(artefacts.RELEASE.of(decision["kind"]))
    waiting = read_json(released) if released.exists() else {}
    if waiting.get("waits") != decision["decision_id"]:
        return  # nothing serves it yet; a promotion looks again
    version = waiting["version"]
    stopped = context.registry().version_tags(kind, version).get(STOPPED)
    if stopped:
        raise ApprovalError(
            f"decision {decision['decision_id']}: the service stopped v{version} ({stopped}). Refuse it, or "
            f"`keepline readmit {kind} {version} --why TEXT`."
        )


def _decision(context: RunContext, which: str) -> Path:
    paths = (
        sorted(context.path(artefacts.ALL_DECISIONS).glob(f"*/{which}*.json"))
        if which.isalnum()
        else []
    )
    if len(paths) != 1:
        state = (
            "there is none" if not paths else f"{len(paths)} decisions begin so; give more letters"
        )
        raise ApprovalError(f"decision {which}: {state}. `keepline decisions` lists them.")
    return paths[0]


def _write_once(path: Path, text: str) -> None:
    """Whole or not at all, and never over another answer: of two people at once, one wins."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with temporary.open("w", encoding="utf-8") as handle:
        handle.write(text)
        handle.flush()
        os.fsync(handle.fileno())
    try:
        os.link(temporary, path)
    finally:
        temporary.unlink()
