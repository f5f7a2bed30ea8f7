"""Writes the candidate's bundle with its model card."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data import artefacts
from data.files import read_json, write_json
from flows.candidate.runs import training_inputs
from models.kinds import kind_of
from models.registry.bundle import write_bundle
from models.registry.learned import FILE, Learned
from models.registry.signing import sign_folder

if TYPE_CHECKING:
    from flows.runtime.context import RunContext


def write_candidate_bundle(
    context: RunContext,
    kind: str,
    files: Mapping[str, Path],
    run_id: str,
    figures: Mapping[str, Any],
    *,
    learned: Learned,
) -> dict[str, Any]:
    """Writes <kind>/bundle with its model card and train_<kind>.json; returns the summary.

    The same training gives the same bundle. `figures` are its validation figures. `learned` is
    whom it was trained and validated on. It goes into the bundle, and its counts and digest into
    the tags of the run.
    """
    from training.tracking import get_run, reopen_run

    run = get_run(context.settings.tracking_uri, run_id)
    version = read_json(context.path(artefacts.VERSION))
    bundle = write_bundle(
        context.path(artefacts.BUNDLE.of(kind)),
        kind,
        {**files, "card.md": model_card(kind, run, version, figures), FILE: learned.to_json()},
        data_hash=version["dvc_hash"],
        git_commit=run["tags"].get("git_commit", "unknown"),
        created_at=str(run["start_time"]),
        licence=kind_of(kind).licence,
        params=run["params"],
    )
    if context.settings.signing_key:
        sign_folder(bundle.path, context.settings.signing_key)
    tags = {"learned_digest": learned.digest}
    tags |= {f"learned_{group}": str(count) for group, count in learned.counts.items()}
    if not tags.items() <= run["tags"].items():
        with reopen_run(context.settings.tracking_uri, run_id) as open_run:
            open_run.set_tags(tags)
    trained_by = run["tags"].get("trained_by", "")
    summary = {
        "run_id": run_id,
        "bundle_sha256": bundle.sha256,
        "trained_by": trained_by,
        # also of a run that an earlier training of the same inputs began
        "inputs": training_inputs(context, kind),
        "learned": {"digest": learned.digest, **learned.counts},
        **figures,
    }
    if "model" in summary:  # a place, which must not tell apart the same training elsewhere
        summary["model"] = context.stored(Path(summary["model"]))
    write_json(context.path(artefacts.TRAIN.of(kind)), summary)
    return summary


def model_card(
    kind: str, run: Mapping[str, Any], version: Mapping[str, Any], figures: Mapping[str, Any]
) -> str:
    """Returns the model card as Markdown: purpose, data, validation figures, licence and limits."""
    row = kind_of(kind)
    rows = "".join(f"- {name}: {count} rows\n" for name, count in sorted(version["rows"].items()))
    lines = "".join(
        f"- {name}: {value:.4g}\n"
        for name, value in sorted(figures.items())
        if isinstance(value, (int, float))
    )
    return (
        f"# {kind}: {run['name']}\n\n{row.description}\n\n## Data\n\nDVC version "
        f"`{version['dvc_hash']}`\n\n{rows}\n"
        f"## Training\n\nMLflow run `{run['run_id']}`, code "
        f"`{run['tags'].get('git_commit')}`\n\n{lines}\n"
        "The held-out test is in the decision record, not here: a card is written before the "
        "test.\n\n"
        f"## Licence\n\n{row.licence}\n\n## Limits\n\n{row.limits}\n"
    )
