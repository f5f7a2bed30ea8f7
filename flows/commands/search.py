"""The command `keepline search churn`: searches training settings on validation customers."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import yaml
from rich.console import Console

from data import artefacts
from flows.runtime import stage_cache
from flows.runtime.context import existing_context
from flows.runtime.graph import BY_NAME
from flows.runtime.lease import lease
from flows.runtime.progress import bar
from models.kinds import CHURN

if TYPE_CHECKING:
    from flows.runtime.context import RunContext
    from training.churn.search import SearchResult
    from training.churn.settings import ChurnTraining
    from training.tracking import Run

EXPERIMENT = "keepline-search"


def search(console: Console, kind: str, trials: int, store: Path | None) -> None:
    """Runs the search until it has `trials` trials and prints the best settings.

    A search that was killed goes on where it was. Raises ValueError for another kind than churn and
    where there are no features.
    """
    if kind != CHURN.name:
        raise ValueError(
            f"search: {kind!r} cannot be searched. Only churn can: an ASR trial takes minutes, so "
            "fan "
            "out with `dvc exp run --queue -S 'asr.learning_rate=0.001,0.002'`."
        )
    context = existing_context(store)
    path = context.path(artefacts.FEATURES)
    if not path.is_file():
        raise ValueError(
            f"{path}: no features to train on. Run the pipeline first: keepline run, or keepline "
            "demo."
        )
    with lease(context, holder=f"search {kind} of {context.site}"):
        result, rows = _search(console, context, trials)
    leavers = rows.filter(pl.col("event") & (pl.col("split") == "valid"))["customer_id"].n_unique()
    _print_result(console, result, leavers)


def _search(
    console: Console, context: RunContext, trials: int
) -> tuple[SearchResult, pl.DataFrame]:
    """Returns what the search found, and the rows it was judged on."""
    from training.churn.search import search

    # Other data or settings are another study.
    name = (
        f"{CHURN.name} "
        f"{stage_cache.stage_fingerprint(context, BY_NAME[f'train_{CHURN.name}'])[:12]}"
    )
    rows = pl.read_parquet(context.path(artefacts.FEATURES))
    with (
        _parent(context, name) as parent,
        bar(console, f"searching, up to {trials} trials") as progress,
    ):
        result = search(
            context.params.churn,
            rows,
            trials=trials,
            storage=f"sqlite:///{context.path(artefacts.SEARCH_STUDY)}",
            name=name,
            work_dir=context.path(artefacts.SEARCH)
            / hashlib.sha256(name.encode()).hexdigest()[:12],
            open_run=lambda number, params: _trial(context, name, parent.run_id, number, params),
            progress=progress,
            lead_days=context.params.features.lead_days,
        )
        parent.log_metrics(
            {"best_loss": result.loss, "first_loss": result.loss_before, "trials": result.trials}
        )
    return result, rows


def _print_result(console: Console, result: SearchResult, leavers: int) -> None:
    """Prints the best trial, and how to use its settings in params.yaml or an experiment."""
    settings = {key: _short(value) for key, value in result.settings.items()}
    resumed = f" ({result.resumed_from} from before)" if result.resumed_from else ""
    console.print(
        f"{result.trials} trials{resumed}; best is trial {result.trial}: valid loss "
        f"{result.loss_before:.5f} → {result.loss:.5f}, judged on {leavers} validation customers "
        "who left. The test part was not looked at.",
        highlight=False,
    )
    console.print("\nIn params.yaml:\n", highlight=False)
    console.print(
        yaml.safe_dump({CHURN.name: settings}, sort_keys=False), highlight=False, markup=False
    )
    console.print("As an experiment:\n", highlight=False)
    console.print(command(settings), highlight=False, markup=False, soft_wrap=True)


def command(settings: dict[str, Any]) -> str:
    """Returns the `dvc exp run` that trains with `settings`.

    ++ also sets what params.yaml leaves at its default.
    """
    return "dvc exp run " + " ".join(f"-S ++churn.{key}={value}" for key, value in settings.items())


def _short(value: Any) -> Any:
    """Returns floats with three digits, which are all that a search can resolve."""
    return float(f"{value:.3g}") if isinstance(value, float) else value


@contextlib.contextmanager
def _parent(context: RunContext, name: str) -> Iterator[Run]:
    from training.tracking import start_or_resume

    settings, params = context.settings, asdict(context.params.churn)
    with start_or_resume(
        settings.tracking_uri,
        EXPERIMENT,
        f"search {name}",
        params=params,
        tags={"kind": "search"},
        reuse_finished=True,
        artifact_root=settings.artifact_root,
    ) as run:
        yield run


@contextlib.contextmanager
def _trial(
    context: RunContext, name: str, parent: str, number: int, params: ChurnTraining
) -> Iterator[Run]:
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
