"""The model to beat, and the scorecards of candidate and reference."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from data.files import file_sha256, read_json, write_json, write_table
from evaluation.churn import scoring
from flows.candidate.runs import reopened
from flows.stages import reader

if TYPE_CHECKING:
    from evaluation.scorecard import Scorecard
    from flows.runtime.context import RunContext


TEST_SET_FILE = "test_set.parquet"  # beside the scorecards: for asr the held-out contacts, for churn the held-out rows,


# for the reader what had to be read in which contact


def save_test_set(context: RunContext, kind: str) -> None:
    """Leaves in scorecards/<kind> what, with the dataset, makes the test set again."""
    if kind == "reader":
        write_table(
            context.path(f"scorecards/{kind}/{TEST_SET_FILE}"), reader.test_set_rows(context)
        )
        return
    name = {"asr": "splits.parquet", "churn": "features.parquet"}[kind]
    rows = pl.read_parquet(context.path(name)).filter(pl.col("split") == "test")
    write_table(
        context.path(f"scorecards/{kind}/{TEST_SET_FILE}"),
        scoring.held_out_rows(rows) if kind == "churn" else rows,
    )


def reference(context: RunContext, kind: str, fallback: dict[str, Any]) -> dict[str, Any]:
    """Writes reference/<kind>.json: the champion, or `fallback` before there is one.

    When the candidate is the champion itself, what it was compared with stays: there is nothing new to judge.
    """
    path = context.path(f"reference/{kind}.json")
    candidate = read_json(context.path(f"train_{kind}.json"))["bundle_sha256"]
    office = context.registry()
    version = office.alias(kind, "champion")
    if version is None:
        found = {**fallback, "version": None, "bundle_sha256": ""}
    elif office.version_tags(kind, version).get("bundle_sha256") == candidate and path.exists():
        return read_json(path)
    else:
        bundle = office.fetch(kind, version, context.path("reference"))
        weights = bundle.path / "model.nemo" if kind == "asr" else bundle.path
        found = {
            "model": f"{kind} v{version}",
            "path": str(weights),
            "version": version,
            "bundle_sha256": bundle.sha256,
        }
    if not path.exists() or read_json(path) != found:
        write_json(path, found)
    return found


def model_name(context: RunContext, kind: str, role: str) -> str:
    """What a model is called in scorecards."""
    if role == "reference":
        return str(read_json(context.path(f"reference/{kind}.json"))["model"])
    return f"{kind} candidate {model_checksum(context, kind, role)[:8]}"


def model_checksum(context: RunContext, kind: str, role: str) -> str:
    """The bundle's checksum; of the base, which is no bundle, that of its file; of a baseline nothing."""
    if role == "candidate":
        return str(read_json(context.path(f"train_{kind}.json"))["bundle_sha256"])
    found = read_json(context.path(f"reference/{kind}.json"))
    if found["bundle_sha256"] or not found["path"]:
        return str(found["bundle_sha256"])
    return file_sha256(Path(found["path"])) if Path(found["path"]).is_file() else ""


def write_scorecards(
    context: RunContext, kind: str, cards: Mapping[str, Scorecard]
) -> dict[str, Any]:
    """Saves the scorecards, logs them and the test set to the candidate's run and writes evaluate_<kind>.json."""

    folder = context.path(f"scorecards/{kind}")
    summary: dict[str, Any] = {"data_hash": cards["candidate"].data_hash}
    for role, one in cards.items():
        one.save(folder / f"{role}.json")
        summary[role] = {
            name: {"value": estimate.value, "low": estimate.low, "high": estimate.high}
            for name, estimate in one.metrics.items()
        }
    save_test_set(context, kind)
    with reopened(context, kind) as run:
        for role, metrics in [("test", summary["candidate"]), ("reference", summary["reference"])]:
            run.log_metrics(
                {
                    f"{role}_{name}{'' if end == 'value' else '_' + end}": figure
                    for name, ends in metrics.items()
                    for end, figure in ends.items()
                    if figure is not None
                }
            )
        run.set_tags({"test_data_hash": summary["data_hash"]})
        run.log_artifact(folder, "scorecards")
    write_json(context.path(f"evaluate_{kind}.json"), summary)
    return summary


def write_secondary_scorecards(
    context: RunContext, kind: str, part: str, cards: Mapping[str, Scorecard]
) -> None:
    """Saves the scorecards of a second test both models took, as scorecards/<kind>/<part>/<role>.json."""
    for role, one in cards.items():
        one.save(context.path(f"scorecards/{kind}/{part}") / f"{role}.json")
