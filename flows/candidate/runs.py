"""The MLflow run of a candidate: opened for training, reopened for evaluation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from data import artefacts
from data.files import read_json
from flows.runtime import heartbeats, stage_cache
from flows.runtime.graph import BY_NAME

if TYPE_CHECKING:
    from flows.runtime.context import RunContext
    from training.tracking import Run


@contextmanager
def training_run(context: RunContext, kind: str, params: Mapping[str, Any]) -> Iterator[Run]:
    """Yields the MLflow run of this training.

    The same inputs and settings are the same run, also after a kill.
    """
    from training.tracking import start_or_resume

    version = read_json(context.path(artefacts.VERSION))
    key = f"{kind} {stage_cache.stage_fingerprint(context, BY_NAME[f'train_{kind}'])[:12]}"
    tags = {"kind": kind, "git_commit": context.git_commit, "dvc_hash": version["dvc_hash"]}
    settings = context.settings
    run = start_or_resume(
        settings.tracking_uri,
        f"keepline-{kind}",
        key,
        params=params,
        tags=tags,
        reuse_finished=True,
        artifact_root=settings.artifact_root,
    )
    run.log_input(version, "calls and customers")
    if not run.resumed:
        run.set_tags({"trained_by": context.settings.actor})
    with heartbeats.heartbeat(context.store, "run", run.run_id, key, settings.tracking_uri), run:
        yield run


@contextmanager
def reopened(context: RunContext, kind: str) -> Iterator[Run]:
    """Yields the run that trained the present candidate, to add what its evaluation measured."""
    from training.tracking import reopen_run

    uri, run_id = (
        context.settings.tracking_uri,
        read_json(context.path(artefacts.TRAIN.of(kind)))["run_id"],
    )
    with (
        heartbeats.heartbeat(context.store, "run", run_id, f"{kind}, judged", uri),
        reopen_run(uri, run_id) as run,
    ):
        yield run
