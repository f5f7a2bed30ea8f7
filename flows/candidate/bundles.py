"""Writes the candidate's bundle with its model card."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data.files import read_json, write_json
from models.registry.bundle import write_bundle
from models.registry.signing import sign_folder

if TYPE_CHECKING:
    from flows.runtime.context import RunContext


LICENCE = {
    "asr": "CC-BY-SA-4.0 (base weights) and the terms of your own recordings",
    "churn": "the terms of your own customer data",
    "reader": "the terms of your own customer data",
}


def write_candidate_bundle(
    context: RunContext, kind: str, files: Mapping[str, Path], run_id: str, found: Mapping[str, Any]
) -> dict[str, Any]:
    """Writes <kind>/bundle with its card and train_<kind>.json. The same training gives the same bundle."""
    from training.tracking import get_run

    run = get_run(context.settings.tracking_uri, run_id)
    version = read_json(context.path("version.json"))
    bundle = write_bundle(
        context.path(kind) / "bundle",
        kind,
        {**files, "card.md": model_card(kind, run, version, found)},
        data_hash=version["dvc_hash"],
        git_commit=run["tags"].get("git_commit", "unknown"),
        created_at=str(run["start_time"]),
        licence=LICENCE[kind],
        params=run["params"],
    )
    if context.settings.signing_key:
        sign_folder(bundle.path, context.settings.signing_key)
    trained_by = run["tags"].get("trained_by", "")
    summary = {"run_id": run_id, "bundle_sha256": bundle.sha256, "trained_by": trained_by, **found}
    write_json(context.path(f"train_{kind}.json"), summary)
    return summary


def model_card(
    kind: str, run: Mapping[str, Any], version: Mapping[str, Any], found: Mapping[str, Any]
) -> str:
    """The model card: what it is, what it learned from, what it scored on validation, what it is not for."""
    what = {
        "asr": "A NeMo CTC recogniser for the telephone speech of one contact centre, fine-tuned from a base.",
        "churn": "A discrete-time hazard network: the risk that a customer leaves within each horizon.",
        "reader": "A network over hashed word and letter n-grams: from the words of a contact to its reason, friction, "
        "mood and barrier.",
    }[kind]
    limits = {
        "asr": "English only. Outside the centre it was tuned on, expect more errors. It does not tell voices apart.",
        "churn": "Risks hold for customers like those it learned from. It says who may leave, not whom to call.",
        "reader": "It learned from what labelling rules believe and shares their blind spots. It reads the language it "
        "learned from, and says how familiar a text is.",
    }[kind]
    rows = "".join(f"- {name}: {count} rows\n" for name, count in sorted(version["rows"].items()))
    figures = "".join(
        f"- {name}: {value:.4g}\n"
        for name, value in sorted(found.items())
        if isinstance(value, (int, float))
    )
    return (
        f"# {kind}: {run['name']}\n\n{what}\n\n## Data\n\nDVC version `{version['dvc_hash']}`\n\n{rows}\n"
        f"## Training\n\nMLflow run `{run['run_id']}`, code `{run['tags'].get('git_commit')}`\n\n{figures}\n"
        f"The held-out test is in the decision record, not here: a card is written before the exam.\n\n"
        f"## Licence\n\n{LICENCE[kind]}\n\n## Limits\n\n{limits}\n"
    )
