"""The command `keepline search`: searches training settings on validation data."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from rich.console import Console

from data import artefacts
from flows.candidate.kind_stages import stages_of
from flows.runtime import stage_cache
from flows.runtime.context import existing_context
from flows.runtime.graph import BY_NAME
from flows.runtime.lease import lease
from flows.runtime.progress import bar

if TYPE_CHECKING:
    from flows.runtime.context import RunContext
    from training.search import SearchResult, SearchTask
    from training.tracking import Run

EXPERIMENT = "keepline-search"


def search(console: Console, kind: str, trials: int, store: Path | None) -> None:
    """Runs the search until it has `trials` trials and prints the best settings.

    A search that was killed goes on where it was. Raises ValueError where there is nothing yet to
    train on.
    """
    context = existing_context(store)
    stage = BY_NAME[f"train_{kind}"]
    for need in stage.needs:
        if not context.path(need).exists():
            raise ValueError(
                f"{context.path(need)}: nothing to train on. Run the pipeline first: keepline run, "
                "or keepline demo."
            )
    # Other data or settings are another study.
    name = f"{kind} {stage_cache.stage_fingerprint(context, stage)[:12]}"
    with lease(context, holder=f"search {kind} of {context.site}"):
        task, result = _search(console, context, kind, trials, name)
    _print_result(console, kind, task, result)


def _search(
    console: Console, context: RunContext, kind: str, trials: int, name: str
) -> tuple[SearchTask, SearchResult]:
    """Returns what was searched, and what the search found."""
    from training.search import search

    with (
        _parent(context, kind, name) as parent,
        bar(console, f"searching, up to {trials} trials") as progress,
    ):
        task = stages_of(kind).search_task(context, lambda done, total: None)
        result = search(
            task,
            trials=trials,
            storage=f"sqlite:///{context.path(artefacts.SEARCH_STUDY)}",
            name=name,
            work_dir=context.path(artefacts.SEARCH)
            / hashlib.sha256(name.encode()).hexdigest()[:12],
            open_run=lambda number, params: _trial(context, name, parent.run_id, number, params),
            progress=progress,
        )
        parent.log_metrics(
            {"best_loss": result.loss, "first_loss": result.loss_before, "trials": result.trials}
        )
    return task, result


def _print_result(console: Console, kind: str, task: SearchTask, result: SearchResult) -> None:
    """Prints the best trial, and how to use its settings in params.yaml or an experiment."""
    settings = {key: _short(value) for key, value in result.settings.items()}
    resumed = f" ({result.resumed_from} from before)" if result.resumed_from else ""
    console.print(
        f"{result.trials} trials{resumed}; best is trial {result.trial}: {task.measure} "
        f"{result.loss_before:.5f} → {result.loss:.5f}, judged on {task.judged_on}. "
        "The test part was not looked at.",
        highlight=False,
    )
    console.print("\nIn params.yaml:\n", highlight=False)
    console.print(
        yaml.safe_dump({kind: _nested(settings)}, sort_keys=False), highlight=False, markup=False
    )
    console.print("As an experiment:\n", highlight=False)
    console.print(command(kind, settings), highlight=False, markup=False, soft_wrap=True)
    console.print(
        "\nThe best of many trials is partly luck. Over five seeds, against today's settings:\n",
        highlight=False,
    )
    seeds = f"-S ++{kind}.seed=0,1,2,3,4"
    for line in (
        f"dvc exp run --queue {seeds}",
        f"{command(kind, settings, '--queue')} {seeds}",
        "dvc queue start && keepline compare --seeds EXPERIMENT_OF_TODAY EXPERIMENT_OF_THE_BEST",
    ):
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def command(kind: str, settings: dict[str, Any], options: str = "") -> str:
    """Returns the `dvc exp run` that trains with `settings`.

    ++ also sets what params.yaml leaves at its default.
    """
    words = ["dvc exp run", *([options] if options else [])]
    return " ".join([*words, *(f"-S ++{kind}.{key}={value}" for key, value in settings.items())])


def _nested(settings: dict[str, Any]) -> dict[str, Any]:
    """Returns settings of dotted names as params.yaml has them."""
    nested: dict[str, Any] = {}
    for key, value in settings.items():
        *outer, last = key.split(".")
        place = nested
        for part in outer:
            place = place.setdefault(part, {})
        place[last] = value
    return nested


def _short(value: Any) -> Any:
    """Returns floats with three digits, which are all that a search can resolve."""
    return float(f"{value:.3g}") if isinstance(value, float) else value


@contextlib.contextmanager
def _parent(context: RunContext, kind: str, name: str) -> Iterator[Run]:
    from training.tracking import start_or_resume

    settings, params = context.settings, asdict(getattr(context.params, kind))
    with start_or_resume(
        settings.tracking_uri,
        EXPERIMENT,
        f"search {name}",
        params=params,
        tags={"kind": "search", "searched": kind},
        reuse_finished=True,
        artifact_root=settings.artifact_root,
    ) as run:
        yield run


@contextlib.contextmanager
def _trial(context: RunContext, name: str, parent: str, number: int, params: Any) -> Iterator[Run]:
    from training.tracking import PARENT_TAG, start_or_resume

    settings = context.settings
    tags = {PARENT_TAG: parent, "kind": "trial"}
    with start_or_resume(
        settings.tracking_uri,
        EXPERIMENT,
        f"{name} trial {number}",
        params=asdict(params),
        tags=tags,
        artifact_root=settings.artifact_root,
    ) as run:
        yield run
