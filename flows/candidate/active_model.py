"""The model that serves until further notice: the champion, else the candidate, else a fallback."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data.files import read_json, write_json

if TYPE_CHECKING:
    from flows.runtime.context import RunContext


def write_active_model(context: RunContext, kind: str) -> dict[str, Any]:
    """Writes office/<kind>.json: the model that hears or scores until further notice, at its path.

    That is the champion, so that a rollback is felt by the next run. Before there is one, it is the candidate if the
    gate accepted it and nobody has to approve, else what the candidate failed to beat (no path: nothing). A bare folder
    of recordings is too small to prove much: there, a candidate that is better as far as can be told hears it.
    """
    decided = read_json(context.path(f"decide_{kind}.json"))
    version = context.registry().alias(kind, "champion")
    folder: Path | None
    says = ""
    if version is not None:
        folder = context.registry().fetch(kind, version, context.path("reference")).path
    elif decided["verdict"] == "accepted" and decided["approval"] == "none":
        folder = context.path(kind) / "bundle"
    elif kind == "asr" and context.source == "recordings":
        folder, says = _for_its_own_folder(context, decided)
    else:
        folder = None
    if folder is None:
        found = {
            "model": decided["reference"]["model"],
            "version": None,
            "path": decided["reference"]["path"],
        }
    else:
        weights = folder / "model.nemo" if kind == "asr" else folder
        model = f"{kind} v{version}" if version else "the candidate"
        found = {"model": model, "version": version, "path": str(weights)}
        if version is None:  # its path stays the same when it is trained again
            found["bundle_sha256"] = decided["candidate"]
    if says:
        found["says"] = says
    path = context.path(f"office/{kind}.json")
    if not path.exists() or read_json(path) != found:
        write_json(path, found)
    return found


def _for_its_own_folder(context: RunContext, decided: Mapping[str, Any]) -> tuple[Path | None, str]:
    """The candidate, if it made fewer errors here and nothing but too little proof is held against that; and why.

    The guardrail is about other speech than this folder's: it keeps from promotion, not from hearing the folder.
    """
    from evaluation.gates.inconclusive import is_inconclusive
    from evaluation.gates.record import read_decision

    decision = read_decision(context.path("decisions/asr") / decided["record"])
    before, after = (
        decision.record[role]["metrics"]["wer"]["value"] for role in ("reference", "candidate")
    )
    against = {
        check.name: check for check in decision.checks if check.verdict not in ("pass", "skipped")
    }
    elsewhere = against.pop("guardrail", None)
    if decision.accepted or after >= before or not all(map(is_inconclusive, against.values())):
        return (
            None,
            f"Heard with {decided['reference']['model']}. {decided['summary']} `keepline decisions` tells more.",
        )
    gate, share, bundle = (
        context.params.gates.asr,
        context.params.splits.test_share,
        context.path("asr") / "bundle",
    )
    said = [
        f"Heard with the candidate: it made fewer errors (WER {before:.1%} → {after:.1%}). It is not promoted."
    ]
    if against:
        said += [
            "The gate found too little to prove it:",
            *(check.sentence for check in against.values()),
        ]
        said += [
            f"To prove it, write down the words of about {math.ceil(gate.min_units / share)} recordings of "
            f"{math.ceil(gate.min_clusters / share)} voices and hear again."
        ]
    if elsewhere:
        said += ["It is for recordings like these:", elsewhere.sentence]
    said += [f"Until then `keepline transcribe --model {bundle}` hears more of them with it."]
    return bundle, " ".join(said)


def active_model_path(context: RunContext, kind: str) -> str | None:
    """Where the model in office lies: for asr a `.nemo`, for churn a bundle folder; None when there is none."""
    path = read_json(context.path(f"office/{kind}.json"))["path"]
    return None if path is None else str(path)
