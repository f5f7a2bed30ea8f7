"""Searches settings of churn training with Optuna, by validation loss alone; resumable."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from data.progress import Progress
from training.churn.settings import ChurnTraining
from training.churn.train import train
from training.run import TrainingRun

if TYPE_CHECKING:
    import optuna

Range = tuple[float, float] | list[Any]
Space = dict[str, Range]
# setting: (least, most) on a logarithmic scale, or the values to choose from
SPACE: Space = {
    "ridge": (0.1, 30.0),
    "mark_cost": (0.01, 5.0),
    "leavers_per_feature": [5, 10, 20, 40],
    "learning_rate": (2e-4, 5e-3),
    "weight_decay": (1e-3, 1.0),
    "dropout": [0.0, 0.1, 0.2, 0.3, 0.4],
    "hidden": [32, 64, 128],
    "members": [4, 8, 16],
    "bins": [4, 8, 16],
}
_STARTUP = 8  # random trials before the sampler (TPE: Bergstra et al., 2011) uses them


@dataclass(frozen=True)
class SearchResult:
    """The best trial of a search. Losses are mean negative log-likelihoods on valid."""

    settings: dict[str, Any]  # of the best trial
    loss: float
    loss_before: float  # with the settings that the search started from
    trial: int
    trials: int
    resumed_from: int  # trials that were finished before


def search(
    base: ChurnTraining,
    features: pl.DataFrame,
    *,
    trials: int,
    storage: str,
    name: str,
    work_dir: Path,
    open_run: Callable[[int, ChurnTraining], AbstractContextManager[TrainingRun]],
    progress: Progress = lambda done, total: None,
    lead_days: int = 0,
) -> SearchResult:
    """Brings the study `name` to `trials` finished trials and returns the best one.

    The first trial has the settings of `base`, so the best is never worse on valid. A killed search
    resumes: its unfinished trial is repeated from the last checkpoint. Rows of the test split are
    dropped before anything else. `storage` is an SQLAlchemy URL, `open_run` opens the run that a
    trial logs to, `lead_days` is the setting `features.lead_days`.
    """
    import optuna

    rows, space = features.filter(pl.col("split") != "test"), _space_around(base)
    study = _open_study(storage, name)
    n_finished = len(_finished(study))
    # Resumed with the same seed, a sampler would draw the same points again.
    study.sampler = optuna.samplers.TPESampler(
        seed=base.seed + len(study.trials), n_startup_trials=_STARTUP, multivariate=True
    )
    _enqueue(study, {key: getattr(base, key) for key in space})

    def objective(trial: optuna.Trial) -> float:
        params = replace(
            base, **{key: _suggest(trial, key, values) for key, values in space.items()}
        )
        with open_run(trial.number, params) as run:
            # The folder is named by the settings: a repeated trial finds its checkpoint.
            summary = train(params, rows, work_dir / _folder(params), run=run, lead_days=lead_days)
            loss = summary["kept_valid_loss"]
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


def _space_around(base: ChurnTraining) -> Space:
    """Returns SPACE, widened to hold the settings of `base`.

    A zero has no logarithm, so its range stays and the trial begins at the least.
    """
    space: Space = {}
    for key, values in SPACE.items():
        value = getattr(base, key)
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


def _folder(params: ChurnTraining) -> str:
    return hashlib.sha256(json.dumps(asdict(params), sort_keys=True).encode()).hexdigest()[:16]
