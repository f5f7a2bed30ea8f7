"""Searches settings of churn training with Optuna: resumable, one study in a database, judged on validation alone."""

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
from training.churn.train import ChurnTraining, Run, train

if TYPE_CHECKING:
    import optuna

Space = dict[str, tuple[float, float] | list[Any]]
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
_STARTUP = 8  # trials at random before the sampler (TPE: Bergstra et al., 2011) learns from them


@dataclass(frozen=True)
class SearchResult:
    """What a search came to. `settings` are those of the best trial, losses mean negative log-likelihoods on valid."""

    settings: dict[str, Any]
    loss: float
    loss_before: float  # with the settings the search began from
    trial: int
    trials: int
    resumed_from: int


def search(
    base: ChurnTraining,
    features: pl.DataFrame,
    *,
    trials: int,
    storage: str,
    name: str,
    work: Path,
    record: Callable[[int, ChurnTraining], AbstractContextManager[Run]],
    progress: Progress = lambda done, total: None,
    lead_days: int = 0,
) -> SearchResult:
    """Brings the study `name` in `storage` (an SQLAlchemy URL) to `trials` finished trials and returns the best.

    The first trial has the settings of `base`, so the best is never worse on valid. A search that was killed goes on:
    the trial it was in is tried again, from its last checkpoint. Rows of the test part are dropped before anything
    looks at them. `record` opens the run that a trial writes to, `lead_days` is what `features.lead_days` was.
    """
    import optuna

    rows, space = features.filter(pl.col("split") != "test"), _around(base)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    # An engine of its own waits out a database that another process has locked.
    engine = {"connect_args": {"timeout": 60}} if storage.startswith("sqlite") else {}
    database = optuna.storages.RDBStorage(storage, engine_kwargs=engine)
    study = optuna.create_study(
        study_name=name, storage=database, direction="minimize", load_if_exists=True
    )
    done = _finished(study)
    # Resumed with the same seed, a sampler would draw the same points again.
    study.sampler = optuna.samplers.TPESampler(
        seed=base.seed + len(study.trials), n_startup_trials=_STARTUP, multivariate=True
    )
    _take_up(study, {key: getattr(base, key) for key in space})

    def objective(trial: optuna.Trial) -> float:
        params = replace(base, **{key: _suggested(trial, key, kind) for key, kind in space.items()})
        with record(trial.number, params) as run:
            # The folder is named by the settings: a trial that is tried again finds its checkpoint.
            found = train(params, rows, work / _folder(params), run=run, lead_days=lead_days)
            loss = found["kept_valid_loss"]
            run.log_metrics({"objective": loss}, step=0)
        trial.set_user_attr("run_id", run.run_id)
        return float(loss)

    resumed_from = len(done)
    while (count := len(_finished(study))) < trials:
        progress(count, trials)
        study.optimize(objective, n_trials=1)
    progress(trials, trials)
    finished = _finished(study)
    losses = {trial.number: float(trial.value) for trial in finished if trial.value is not None}
    best = min(finished, key=lambda trial: (losses[trial.number], trial.number))
    return SearchResult(
        dict(best.params),
        losses[best.number],
        losses[min(losses)],
        best.number,
        len(finished),
        resumed_from,
    )


def _around(base: ChurnTraining) -> Space:
    """SPACE, made to hold the settings to begin with; a zero has no logarithm, so it begins at the least."""
    space: Space = {}
    for key, kind in SPACE.items():
        value = getattr(base, key)
        if isinstance(kind, list):
            space[key] = sorted({*kind, value})
        else:
            space[key] = (min(kind[0], value), max(kind[1], value)) if value > 0 else kind
    return space


def _finished(study: optuna.Study) -> list[optuna.trial.FrozenTrial]:
    return [trial for trial in study.trials if trial.state.name == "COMPLETE"]


def _take_up(study: optuna.Study, first: dict[str, Any]) -> None:
    """Queues the settings to begin with, or those that a killed search was trying."""
    from optuna.trial import TrialState

    if not study.trials:
        study.enqueue_trial(first)
    for trial in study.trials:
        if trial.state == TrialState.RUNNING:
            study.tell(trial.number, state=TrialState.FAIL)
            study.enqueue_trial(trial.params or trial.system_attrs.get("fixed_params", {}))


def _suggested(trial: optuna.Trial, key: str, kind: tuple[float, float] | list[Any]) -> Any:
    if isinstance(kind, list):
        return trial.suggest_categorical(key, kind)
    return trial.suggest_float(key, *kind, log=True)


def _folder(params: ChurnTraining) -> str:
    return hashlib.sha256(json.dumps(asdict(params), sort_keys=True).encode()).hexdigest()[:16]
