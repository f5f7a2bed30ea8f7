"""The MLflow run of a candidate: opened for training, reopened for evaluation.

Each experiment has runs of its own. Two that train the same thing at once never log to one run.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
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

EXPERIMENT_TAG = "experiment"  # the name that DVC has given the experiment
GROUP_TAG = "group"  # equal in runs that differ in the seed of their training alone
TRAINED_IN_TAG = "trained_in"  # the run that trained the model, where it is another


@contextmanager
def training_run(context: RunContext, kind: str, params: Mapping[str, Any]) -> Iterator[Run]:
    """Yields the MLflow run of this training.

    The same inputs and settings are the same run, also after a kill, within one experiment.
    """
    from training.tracking import start_or_resume

    version = read_json(context.path(artefacts.VERSION))
    stage = BY_NAME[f"train_{kind}"]
    contents = stage_cache.stage_contents(context, stage)
    key = f"{kind} {stage_cache.stage_fingerprint(context, stage, contents)[:12]}"
    tags = {
        "kind": kind,
        "git_commit": context.git_commit,
        "dvc_hash": version["dvc_hash"],
        **training_inputs(context, kind),
        GROUP_TAG: stage_cache.stage_fingerprint(_seedless(context, kind), stage, contents)[:12],
    }
    settings = context.settings
    run = start_or_resume(
        settings.tracking_uri,
        f"keepline-{kind}",
        _of_experiment(context, key),
        params=params,
        tags=tags | _experiment_tags(context),
        reuse_finished=True,
        artifact_root=settings.artifact_root,
    )
    run.log_input(version, "calls and customers")
    if not run.resumed:
        run.set_tags({"trained_by": context.settings.actor})
    with _alive(context, run, key), run:
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
    store = context.settings.original_store
    with (
        heartbeats.heartbeat(store, "run", run_id, f"{kind}, judged", uri),
        reopen_run(uri, run_id) as run,
    ):
        yield run


@contextmanager
def validation_run(context: RunContext, kind: str) -> Iterator[Run]:
    """Yields the run that takes the candidate's validation figures.

    That is the run that trained it. Where another experiment has trained it, because the training
    itself was reused, it is a run of this experiment with the same parameters.
    """
    from training.tracking import TrackingError, get_run, start_or_resume

    settings = context.settings
    trained = read_json(context.path(artefacts.TRAIN.of(kind)))
    try:
        source = get_run(settings.tracking_uri, trained["run_id"])
    except TrackingError:  # it was trained elsewhere and came here with `dvc pull`
        source = {"params": {}, "tags": {EXPERIMENT_TAG: "elsewhere"}}
    if source["tags"].get(EXPERIMENT_TAG, "") == settings.experiment:
        with reopened(context, kind) as run:
            yield run
        return
    kept = ("kind", "git_commit", "dvc_hash", GROUP_TAG)
    tags = {name: source["tags"][name] for name in kept if name in source["tags"]}
    key = f"{kind} {trained['bundle_sha256'][:12]}"
    run = start_or_resume(
        settings.tracking_uri,
        f"keepline-{kind}",
        _of_experiment(context, key),
        params=source["params"],
        tags=tags | {TRAINED_IN_TAG: trained["run_id"]} | _experiment_tags(context),
        reuse_finished=True,
        artifact_root=settings.artifact_root,
    )
    with _alive(context, run, key), run:
        yield run


@contextmanager
def _alive(context: RunContext, run: Run, key: str) -> Iterator[None]:
    """Holds the heartbeat of a run while the block runs."""
    settings = context.settings
    with heartbeats.heartbeat(
        settings.original_store, "run", run.run_id, key, settings.tracking_uri
    ):
        yield


def _of_experiment(context: RunContext, key: str) -> str:
    """Returns the key of a run within the present experiment."""
    return " ".join(part for part in (key, context.settings.experiment) if part)


def _experiment_tags(context: RunContext) -> dict[str, str]:
    name = context.settings.experiment
    return {EXPERIMENT_TAG: name} if name else {}


def _seedless(context: RunContext, kind: str) -> RunContext:
    """Returns the context with the seed of the kind's training set to 0."""
    section: Any = getattr(context.params, kind, None)
    if not hasattr(section, "seed"):
        return context
    changed: dict[str, Any] = {kind: replace(section, seed=0)}
    return replace(context, params=replace(context.params, **changed))
