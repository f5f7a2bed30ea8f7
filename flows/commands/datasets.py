"""`keepline checkout`: datasets and test sets of a version or a model."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl
from rich.console import Console

from data.files import read_tables, write_table
from data.speech.utterances import recordings_of
from evaluation.asr import test_sets
from evaluation.churn import scoring
from evaluation.reader import test_set
from flows.candidate.scorecards import TEST_SET_FILE
from flows.runtime.context import load_context

if TYPE_CHECKING:
    from flows.runtime.context import RunContext


def restore_test_set(
    context: RunContext, kind: str, run_id: str, dataset: Path
) -> tuple[Path, str]:
    """Writes the test set of the model that `run_id` trained to `dataset`/test_set; returns it and its hash.

    `dataset` is the checked-out dataset of the model. Raises ValueError when the run kept no test set, or when what
    comes back is not what the model was scored on.
    """
    from data.audio import read
    from data.speech.shards import contents
    from data.speech.utterances import cut
    from training.tracking import fetch_artifact, get_run

    uri = context.settings.tracking_uri
    with tempfile.TemporaryDirectory() as scratch:
        kept = fetch_artifact(uri, run_id, f"scorecards/{TEST_SET_FILE}", Path(scratch))
        if kept is None:
            raise ValueError(f"run {run_id}: kept no test set. Evaluate the model again.")
        rows = pl.read_parquet(kept)
    out = dataset / "test_set"
    if kind == "churn":
        write_table(out / TEST_SET_FILE, rows)
        found = scoring.rows_hash(rows)
    elif kind == "reader":
        write_table(out / TEST_SET_FILE, rows)
        found = test_set.stored_test_set_hash(rows, read_tables(dataset / "tables"))
    else:
        tables = read_tables(dataset / "tables")
        content = contents(tables["recordings"], dataset / "shards")
        cut(
            recordings_of(tables),
            tables["turns"],
            rows,
            lambda call: read(content(call), call),
            out,
        )
        alone = replace(context.params.evaluation, conditions=(), guardrail_s=0.0)
        found = test_sets.load_test_sets(out / "test.jsonl", alone)["test"].data_hash
    wanted = get_run(uri, run_id)["tags"].get("test_data_hash", "")
    if found != wanted:
        raise ValueError(
            f"run {run_id}: was scored on test set {wanted[:12]}, and {found[:12]} came back. Check out the commit it "
            "was evaluated with and try again."
        )
    return out, found


def resolve_alias(context: RunContext, kind: str, alias: str) -> tuple[int, str, str]:
    """(version, data hash, run id) of the model an alias names. Raises ValueError when it names none."""
    office = context.registry()
    version = office.alias(kind, alias)
    if version is None:
        raise ValueError(f"{kind}@{alias}: no version of {kind} has this alias.")
    return version, office.version_tags(kind, version)["data_hash"], office.run_of(kind, version)


def checkout(console: Console, what: str, out: Path, test: bool, store: Path | None) -> None:
    """Brings back a dataset by its hash, or the one a registered model learned from, on request with its test set."""
    from data.versioning import checkout

    context = load_context(store)
    kind, _, alias = what.partition("@")
    if test and not alias:
        raise ValueError(f"{what}: a test set belongs to a model. Name one, as in asr@champion.")
    version, dvc_hash, run_id = resolve_alias(context, kind, alias) if alias else (None, what, "")
    checkout(dvc_hash, context.path("versioned"), context.settings.dvc_remote, out)
    console.print(f"{out}: dataset {dvc_hash}", soft_wrap=True, highlight=False)
    if test:
        where, found = restore_test_set(context, kind, run_id, out)
        console.print(
            f"{where}: what {kind} v{version} was scored on, {found}",
            soft_wrap=True,
            highlight=False,
        )
