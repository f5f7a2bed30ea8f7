"""Names the model to beat and stores the scorecards of candidate and reference."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data import artefacts
from data.files import file_sha256, read_json, write_json, write_table
from flows.candidate.kind_stages import stages_of
from flows.candidate.probes import text_readers_of, write_text_readers
from flows.candidate.runs import reopened, validation_run
from models.kinds import kind_of

if TYPE_CHECKING:
    import polars as pl

    from evaluation.scorecard import Scorecard
    from flows.candidate.learned import LeftOut
    from flows.runtime.context import RunContext


# Beside the scorecards: with the dataset it makes the test set again.
TEST_SET_FILE = "test_set.parquet"
# In a run: its scorecard on validation data, and the hash of those data.
VALIDATION_FOLDER = "validation_scorecards"
VALIDATION_HASH_TAG = "validation_data_hash"


def write_reference(context: RunContext, kind: str) -> dict[str, Any]:
    """Writes reference/<kind>.json and returns its content: the champion, or the baseline.

    When the candidate is the champion itself, what it was compared with stays: there is nothing new
    to judge.
    """
    if text_readers_of(kind):
        write_text_readers(context, kind)
    path = context.path(artefacts.REFERENCE.of(kind))
    candidate = read_json(context.path(artefacts.TRAIN.of(kind)))["bundle_sha256"]
    registry = context.registry()
    version = registry.alias(kind, "champion")
    if version is None:
        reference = {**stages_of(kind).baseline(context), "version": None, "bundle_sha256": ""}
    elif registry.version_tags(kind, version).get("bundle_sha256") == candidate and path.exists():
        return dict(read_json(path))
    else:
        bundle = registry.fetch(kind, version, context.path(artefacts.FETCHED))
        reference = {
            "model": f"{kind} v{version}",
            "path": context.stored(kind_of(kind).weights_in(bundle.path)),
            "version": version,
            "bundle_sha256": bundle.sha256,
        }
    if not path.exists() or read_json(path) != reference:
        write_json(path, reference)
    return reference


def models_to_compare(context: RunContext, kind: str) -> dict[str, Path | None]:
    """Returns, by role, what a loader of the kind takes.

    The reference is None for a baseline without a file.
    """
    reference = read_json(context.path(artefacts.REFERENCE.of(kind)))["path"]
    return {
        "reference": None if reference is None else context.path(reference),
        "candidate": kind_of(kind).weights_in(context.path(artefacts.BUNDLE.of(kind))),
    }


def model_name(context: RunContext, kind: str, role: str) -> str:
    """Returns what the model of a role is called in scorecards."""
    if role == "reference":
        return str(read_json(context.path(artefacts.REFERENCE.of(kind)))["model"])
    return f"{kind} candidate {model_checksum(context, kind, role)[:8]}"


def model_checksum(context: RunContext, kind: str, role: str) -> str:
    """Returns the bundle's checksum.

    Of the base, which is no bundle, it is that of the file; of a baseline without a file it is
    empty.
    """
    if role == "candidate":
        return str(read_json(context.path(artefacts.TRAIN.of(kind)))["bundle_sha256"])
    reference = read_json(context.path(artefacts.REFERENCE.of(kind)))
    if reference["bundle_sha256"] or not reference["path"]:
        return str(reference["bundle_sha256"])
    path = context.path(reference["path"])
    return file_sha256(path) if path.is_file() else ""


def write_scorecards(
    context: RunContext,
    kind: str,
    cards: Mapping[str, Scorecard],
    test_set: pl.DataFrame,
    left_out: LeftOut | None = None,
) -> dict[str, Any]:
    """Saves the scorecards, logs them to the candidate's run and returns their summary.

    Writes evaluate_<kind>.json as well. `test_set` is what, with the dataset, makes the test set
    again (see `KindStages.restore_test_set`). `left_out` tells what one of the models had learned
    from and neither was scored on.
    """
    folder = context.path(artefacts.SCORECARDS.of(kind))
    summary: dict[str, Any] = {"data_hash": cards["candidate"].data_hash}
    if left_out is not None:
        summary["left_out"] = left_out.as_facts()
        cards = {
            role: replace(card, facts={**card.facts, "left_out": summary["left_out"]})
            for role, card in cards.items()
        }
    for role, card in cards.items():
        card.save(folder / f"{role}.json")
        summary[role] = _ends(card)
    write_table(folder / TEST_SET_FILE, test_set)
    with reopened(context, kind) as run:
        for role, metrics in [("test", summary["candidate"]), ("reference", summary["reference"])]:
            run.log_metrics(_figures(role, metrics))
        run.set_tags({"test_data_hash": summary["data_hash"]})
        run.log_artifact(folder, "scorecards")
    write_json(context.path(artefacts.EVALUATE.of(kind)), summary)
    return summary


def write_validation_scorecard(context: RunContext, kind: str, card: Scorecard) -> dict[str, Any]:
    """Saves the candidate's scorecard on validation data, logs it and returns its summary.

    Writes assess_<kind>.json and metrics/<kind>.json as well. It holds no test figure.
    """
    folder = context.path(artefacts.ASSESSED.of(kind))
    card.save(folder / "candidate.json")
    figures = _ends(card)
    summary: dict[str, Any] = {"data_hash": card.data_hash, "candidate": figures}
    with validation_run(context, kind) as run:
        run.log_metrics(_figures("validation", figures))
        run.set_tags({VALIDATION_HASH_TAG: card.data_hash})
        run.log_artifact(folder / "candidate.json", VALIDATION_FOLDER)
        run.log_artifact(folder / "candidate.parquet", VALIDATION_FOLDER)
        summary["run_id"] = run.run_id
    metric = kind_of(kind).primary_metric
    figure = figures[metric]
    write_json(
        context.path(artefacts.METRICS.of(kind)),
        {
            f"{kind}_{metric}": figure["value"],
            f"{kind}_{metric}_low": figure["low"],
            f"{kind}_{metric}_high": figure["high"],
        },
    )
    write_json(context.path(artefacts.ASSESS.of(kind)), summary)
    return summary


def _ends(card: Scorecard) -> dict[str, dict[str, float | None]]:
    """Returns the metrics of a scorecard: value and interval, by name."""
    return {
        name: {"value": estimate.value, "low": estimate.low, "high": estimate.high}
        for name, estimate in card.metrics.items()
    }


def _figures(role: str, metrics: Mapping[str, Mapping[str, float | None]]) -> dict[str, float]:
    """Returns metrics as a run logs them: role_name, role_name_low, role_name_high."""
    return {
        f"{role}_{name}{'' if end == 'value' else '_' + end}": figure
        for name, ends in metrics.items()
        for end, figure in ends.items()
        if figure is not None
    }


def write_secondary_scorecards(
    context: RunContext, kind: str, part: str, cards: Mapping[str, Scorecard]
) -> None:
    """Saves both models' scorecards of a secondary test.

    They go to scorecards/<kind>/<part>/<role>.json.
    """
    for role, card in cards.items():
        card.save(context.path(artefacts.SCORECARDS.of(kind)) / part / f"{role}.json")
