"""The commands `keepline checkout` and `keepline data repair`."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl
from rich.console import Console

from data import artefacts
from data.files import read_json
from flows.candidate.kind_stages import stages_of
from flows.candidate.scorecards import TEST_SET_FILE
from flows.runtime.context import existing_context
from flows.runtime.lease import lease
from flows.runtime.progress import bar

if TYPE_CHECKING:
    from flows.runtime.context import RunContext


def restore_test_set(
    context: RunContext, kind: str, run_id: str, dataset: Path
) -> tuple[Path, str]:
    """Writes the test set of the model that `run_id` trained; returns its folder and hash.

    `dataset` is the checked-out dataset of the model; the test set goes to its test_set/. Raises
    ValueError when the run kept no test set, or when what comes back is not what the model was
    scored on.
    """
    from training.tracking import fetch_artifact, get_run

    uri = context.settings.tracking_uri
    with tempfile.TemporaryDirectory() as scratch:
        kept = fetch_artifact(uri, run_id, f"scorecards/{TEST_SET_FILE}", to_dir=Path(scratch))
        if kept is None:
            raise ValueError(f"run {run_id}: kept no test set. Evaluate the model again.")
        rows = pl.read_parquet(kept)
    out = dataset / "test_set"
    restored = stages_of(kind).restore_test_set(context, rows, dataset, out)
    expected = get_run(uri, run_id)["tags"].get("test_data_hash", "")
    if restored != expected:
        raise ValueError(
            f"run {run_id}: was scored on test set {expected[:12]}, and {restored[:12]} came back. "
            "Check out the commit it "
            "was evaluated with and try again."
        )
    return out, restored


def resolve_alias(context: RunContext, kind: str, alias: str) -> tuple[int, str, str]:
    """Returns (version, data hash, run id) of the model an alias names.

    Raises ValueError when it names none.
    """
    registry = context.registry()
    version = registry.alias(kind, alias)
    if version is None:
        raise ValueError(f"{kind}@{alias}: no version of {kind} has this alias.")
    return (
        version,
        registry.version_tags(kind, version)["data_hash"],
        registry.run_of(kind, version),
    )


def checkout(console: Console, what: str, out: Path, *, test: bool, store: Path | None) -> None:
    """Brings back a dataset by its hash, or the one a registered model learned from.

    With `test` its test set comes back too. Raises ValueError when `test` is asked of a bare hash.
    """
    from data.versioning import checkout

    context = existing_context(store)
    kind, _, alias = what.partition("@")
    if test and not alias:
        raise ValueError(f"{what}: a test set belongs to a model. Name one, as in asr@champion.")
    version, dvc_hash, run_id = resolve_alias(context, kind, alias) if alias else (None, what, "")
    checkout(
        dvc_hash, context.path(artefacts.VERSIONED), remote=context.settings.dvc_remote, out=out
    )
    console.print(f"{out}: dataset {dvc_hash}", soft_wrap=True, highlight=False)
    if test:
        where, data_hash = restore_test_set(context, kind, run_id, out)
        console.print(
            f"{where}: what {kind} v{version} was scored on, {data_hash}",
            soft_wrap=True,
            highlight=False,
        )


def repair(console: Console, what: str | None, store: Path | None) -> None:
    """Repairs the DVC remote of a version.

    `what` is its hash, a model and alias, or None for the newest version. Raises VersionError when
    the version is not in this store's cache, or the remote stays damaged.
    """
    from data.versioning import repair_remote

    context = existing_context(store)
    kind, _, alias = (what or "").partition("@")
    if alias:
        _, dvc_hash, _ = resolve_alias(context, kind, alias)
    else:
        dvc_hash = what or read_json(context.path(artefacts.VERSION))["dvc_hash"]
    with (
        lease(context, holder=f"data repair of {context.site}"),
        bar(console, "checking the remote") as progress,
    ):
        problems = repair_remote(
            dvc_hash,
            context.path(artefacts.VERSIONED),
            remote=context.settings.dvc_remote,
            progress=progress,
        )
    for problem in problems:
        console.print(f"repaired: {problem}", highlight=False, soft_wrap=True, markup=False)
    remote = context.settings.dvc_remote
    console.print(
        f"{remote}: version {dvc_hash} is whole, {len(problems)} objects were repaired",
        highlight=False,
        soft_wrap=True,
        markup=False,
    )
