"""The MLflow run of a candidate: opened for training, reopened for evaluation."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data import artefacts
from data.files import file_sha256, read_json
from flows.runtime import heartbeats, stage_cache
from flows.runtime.graph import BY_NAME
from models.kinds import CHURN, READER, kinds

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
    tags = {
        "kind": kind,
        "git_commit": context.git_commit,
        "dvc_hash": version["dvc_hash"],
        **training_inputs(context, kind),
    }
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


def training_inputs(context: RunContext, kind: str) -> dict[str, str]:
    """Returns what a training rests on beside the dataset, as tags of its run and its version.

    The dataset's hash alone does not say it: labels and features depend on the models that heard and
    read the contacts. So `<kind>_model` and `<kind>_sha256` name the active model of each kind of
    model before this one, `readings` the readers of the contacts, and `<file>_sha256` the tables
    that were learned from.
    """
    tags: dict[str, str] = {}
    order = [row.name for row in kinds()]
    for earlier in order[: order.index(kind)] if kind in order else []:
        path = context.path(artefacts.ACTIVE.of(earlier))
        if path.exists():
            active = read_json(path)
            tags[f"{earlier}_model"] = str(active["model"])
            tags[f"{earlier}_sha256"] = _checksum(context, earlier, active)
    read = context.path(artefacts.READ)
    if kind == CHURN.name and read.exists():
        tags["readings"] = json.dumps(read_json(read).get("read_by", {}), sort_keys=True)
    for artefact in _LEARNED_FROM.get(kind, ()):
        if context.path(artefact).exists():
            tags[f"{Path(artefact.path).stem}_sha256"] = file_sha256(context.path(artefact))
    return tags


# Tables that a kind learns from and that are no part of the dataset.
_LEARNED_FROM = {
    READER.name: (artefacts.BELIEFS, artefacts.HEARD),
    CHURN.name: (artefacts.FEATURES,),
}


def _checksum(context: RunContext, kind: str, active: Mapping[str, Any]) -> str:
    """The checksum of an active model's bundle; empty where there is none."""
    if active.get("version") is None:
        return str(active.get("bundle_sha256", ""))
    from models.registry.registry import VersionTag

    tags = context.registry().version_tags(kind, int(active["version"]))
    return str(tags.get(VersionTag.BUNDLE_SHA256, ""))


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
