"""Stores people's answers to decisions that wait for one, each once and beside the decisions."""

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
    """Writes approvals/<decision>.json for the decision whose id begins with `which`.

    Returns the record. The first answer stands. Raises ApprovalError when there is no such
    decision, when it asked for no approval, when it has been answered otherwise, when the service
    stopped what would be approved, and for the reasons of models.registry.approval.
    """
    from evaluation.gates.record import validate_record

    decision = read_json(_decision(context, which))
    validate_record(decision)
    if decision["params"]["approval"] != "required":
        raise ApprovalError(
            f"decision {decision['decision_id']} asked for no approval: "
            f"gates.{decision['kind']}.approval was not "
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
                f"decision {decision['decision_id']}: {before['by']} has {before['answer']} it "
                "already. An answer "
                "stands; train another model to be asked again."
            ) from None
        return dict(before)
    return record


def approval_of(context: RunContext, decision_id: str) -> dict[str, Any] | None:
    """Returns the answer to a decision, or None while nobody has given one."""
    path = context.path(artefacts.APPROVALS) / f"{decision_id}.json"
    return read_json(path) if path.exists() else None


def _refuse_stopped(context: RunContext, decision: dict[str, Any]) -> None:
    """Raises ApprovalError when the service stopped the version that waits for this decision."""
    from models.registry.registry import STOPPED

    kind, released = decision["kind"], context.path(artefacts.RELEASE.of(decision["kind"]))
    waiting = read_json(released) if released.exists() else {}
    if waiting.get("waits") != decision["decision_id"]:
        return  # nothing serves it yet; a promotion looks again
    version = waiting["version"]
    stopped = context.registry().version_tags(kind, version).get(STOPPED)
    if stopped:
        raise ApprovalError(
            f"decision {decision['decision_id']}: the service stopped v{version} ({stopped}). "
            "Refuse it, or "
            f"`keepline readmit {kind} {version} --why TEXT`."
        )


def _decision(context: RunContext, which: str) -> Path:
    """Returns the path of the one decision record whose id begins with `which`."""
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
    """Writes `text` whole or not at all, and never over another answer.

    Of two people who answer at once, one wins and the other gets FileExistsError.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with temporary.open("w", encoding="utf-8") as handle:
        handle.write(text)
        handle.flush()
        os.fsync(handle.fileno())
    try:
        os.link(temporary, path)
    finally:
        temporary.unlink()
