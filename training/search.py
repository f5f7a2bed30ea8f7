"""Searches settings of a training with Optuna, by its figure on validation data; resumable.

What to vary, and how one trial is trained, is declared by each kind of model in its `search.py`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data.progress import Progress
from training.run import TrainingRun

if TYPE_CHECKING:
    import optuna

# (least, most) on a logarithmic scale, or the values to choose from
Range = tuple[float, float] | list[Any]
Space = dict[str, Range]  # setting → range; a nested setting has a dotted name
# Settings, a folder for checkpoints and a run → the loss on validation data, the less the better.
Objective = Callable[[Any, Path, TrainingRun], float]
_STARTUP = 8  # random trials before the sampler (TPE: Bergstra et al., 2011) uses them


@dataclass(frozen=True)
class SearchTask:
    """What is searched: settings to start from, their ranges, and how a trial is trained."""

    base: Any  # the frozen dataclass of the kind's training; it has a seed
    space: Space
    objective: Objective
    measure: str  # what the objective is, in words
    judged_on: str  # on how many units of validation data, in words


@dataclass(frozen=True)
class SearchResult:
    """The best trial of a search. Losses are what the objective returns."""

    settings: dict[str, Any]  # of the best trial
    loss: float
    loss_before: float  # with the settings that the search started from
    trial: int
    trials: int
    resumed_from: int  # trials that were finished before


def search(
    task: SearchTask,
    *,
    trials: int,
    storage: str,
    name: str,
    work_dir: Path,
    open_run: Callable[[int, Any], AbstractContextManager[TrainingRun]],
    progress: Progress = lambda done, total: None,
) -> SearchResult:
    """Brings the study `name` to `trials` finished trials and returns the best one.

    The first trial has the settings of `task.base`, so the best is never worse on valid. A killed
    search resumes: its unfinished trial is repeated from the last checkpoint. `storage` is an
    SQLAlchemy URL, `open_run` opens the run that a trial logs to.
    """
    import optuna

    base, space = task.base, _space_around(task)
    study = _open_study(storage, name)
    n_finished = len(_finished(study))
    # Resumed with the same seed, a sampler would draw the same points again.
    study.sampler = optuna.samplers.TPESampler(
        seed=base.seed + len(study.trials), n_startup_trials=_STARTUP, multivariate=True
    )
    _enqueue(study, {key: setting(base, key) for key in space})

    def objective(trial: optuna.Trial) -> float:
        params = base
        for key, values in space.items():
            params = with_setting(params, key, _suggest(trial, key, values))
        with open_run(trial.number, params) as run:
            # The folder is named by the settings: a repeated trial finds its checkpoint.
            loss = task.objective(params, work_dir / _folder(params), run)
            run.log_metrics({"objective": loss}, step=0)
        trial.set_user_attr("run_id", run.run_id)
        return float(loss)

    while (count := len(_finished(study))) < trials:
        progress(count, trials)
        study.optimize(objective, n_trials=1)
    progress(trials, trials)
    return _best(study, n_finished)


def _open_study(storage: str, name: str) -> optuna.Study:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    # An engine of its own waits for a database that another process has locked.
    engine = {"connect_args": {"timeout": 60}} if storage.startswith("sqlite") else {}
    database = optuna.storages.RDBStorage(storage, engine_kwargs=engine)
    return optuna.create_study(
        study_name=name, storage=database, direction="minimize", load_if_exists=True
    )


def _best(study: optuna.Study, resumed_from: int) -> SearchResult:
    """Returns the finished trial with the lowest loss, the earliest of equals."""
    finished = _finished(study)
    losses = {trial.number: float(trial.value) for trial in finished if trial.value is not None}
    best = min(finished, key=lambda trial: (losses[trial.number], trial.number))
    return SearchResult(
        settings=dict(best.params),
        loss=losses[best.number],
        loss_before=losses[min(losses)],
        trial=best.number,
        trials=len(finished),
        resumed_from=resumed_from,
    )


def setting(params: Any, key: str) -> Any:
    """Returns the setting of a dotted name."""
    for part in key.split("."):
        params = getattr(params, part)
    return params


def with_setting(params: Any, key: str, value: Any) -> Any:
    """Returns frozen settings with that of a dotted name replaced."""
    name, _, inner = key.partition(".")
    return replace(
        params, **{name: with_setting(getattr(params, name), inner, value) if inner else value}
    )


def _space_around(task: SearchTask) -> Space:
    """Returns the space, widened to hold the settings that the search starts from.

    A zero has no logarithm, so its range stays and the trial begins at the least.
    """
    space: Space = {}
    for key, values in task.space.items():
        value = setting(task.base, key)
        if isinstance(values, list):
            space[key] = sorted({*values, value})
        else:
            space[key] = (min(values[0], value), max(values[1], value)) if value > 0 else values
    return space


def _finished(study: optuna.Study) -> list[optuna.trial.FrozenTrial]:
    return [trial for trial in study.trials if trial.state.name == "COMPLETE"]


def _enqueue(study: optuna.Study, first: dict[str, Any]) -> None:
    """Queues the settings to start with, or those of a killed search's unfinished trial."""
    from optuna.trial import TrialState

    if not study.trials:
        study.enqueue_trial(first)
    for trial in study.trials:
        if trial.state == TrialState.RUNNING:
            study.tell(trial.number, state=TrialState.FAIL)
            study.enqueue_trial(trial.params or trial.system_attrs.get("fixed_params", {}))


def _suggest(trial: optuna.Trial, key: str, values: Range) -> Any:
    if isinstance(values, list):
        return trial.suggest_categorical(key, values)
    return trial.suggest_float(key, *values, log=True)


def _folder(params: Any) -> str:
    return hashlib.sha256(json.dumps(asdict(params), sort_keys=True).encode()).hexdigest()[:16]
