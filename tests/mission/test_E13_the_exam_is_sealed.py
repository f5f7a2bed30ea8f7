"""E13: experiments, comparison and search see validation figures; the gate alone sees the test set."""

from __future__ import annotations

import io
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from rich.console import Console

from data.files import read_json, write_json, write_table
from evaluation.gates import examples
from evaluation.metrics.bootstrap import paired_difference, swapped_p
from flows.candidate import runs
from flows.commands.compare import compare
from flows.runtime.context import RunContext
from flows.runtime.params import Params
from flows.runtime.settings import from_environment
from flows.stages import churn
from tests.churn_helpers import churn_table
from tests.registry_helpers import RegistryFixture
from training.browse import browse
from training.churn.settings import ChurnTraining

LEVEL = 0.025  # of the gate, for each candidate
SETTINGS, VOICES, TURNS, WORDS, REPEATS = 50, 40, 4, 10, 150


def _errors(rng: np.random.Generator, difficulty: np.ndarray) -> np.ndarray:
    """Word errors of each turn [settings + 1, turns]: all settings are equally good.

    Turns differ in difficulty, and each setting has voices that it hears better or worse by chance.
    """
    taste = rng.normal(0, 0.25, (SETTINGS + 1, VOICES)).repeat(TURNS, axis=1)
    rate = 1 / (1 + np.exp(-(difficulty + taste)))
    return rng.binomial(WORDS, rate).astype(float)


def _passes(candidate: np.ndarray, reference: np.ndarray) -> bool:
    """Whether the gate finds the candidate better: interval and swaps, as `better` asks both."""
    words, voice = np.full(candidate.size, float(WORDS)), np.arange(VOICES).repeat(TURNS)
    sides = (reference, words), (candidate, words)
    if swapped_p(*sides, voice, seed=0) > LEVEL:
        return False
    low = paired_difference(*sides, voice, seed=0).low
    return low is not None and low > 0


def _share_promoted(chosen_on: str) -> float:
    """The share of centres where the best of 50 equal settings passes the gate."""
    rng, passed = np.random.default_rng(13), 0
    for _ in range(REPEATS):
        difficulty = {
            part: rng.normal(-1.0, 0.8, VOICES).repeat(TURNS) + rng.normal(0, 0.5, VOICES * TURNS)
            for part in ("validation", "test")
        }
        # What a setting hears of one voice says nothing about other voices.
        errors = {part: _errors(rng, difficulty[part]) for part in difficulty}
        best = 1 + int(errors[chosen_on][1:].sum(axis=1).argmin())
        passed += _passes(errors["test"][best], errors["test"][0])
    return passed / REPEATS


def test_E13_the_best_of_50_equal_settings_passes_no_more_often_than_the_level_says() -> None:
    sealed = _share_promoted("validation")
    error = (LEVEL * (1 - LEVEL) / REPEATS) ** 0.5
    assert sealed <= LEVEL + 2.5 * error
    assert _share_promoted("test") > 4 * LEVEL, "the same choice on the test set would not keep it"


@pytest.fixture(scope="module")
def one_training(tmp_path_factory: pytest.TempPathFactory) -> RunContext:
    """A store with a churn candidate."""
    rows, folder = churn_table(300), tmp_path_factory.mktemp("trained") / "store"
    params = Params(
        churn=ChurnTraining(epochs=2, additive_steps=10, min_customers=20, min_events=2, members=2)
    )
    settings = replace(from_environment({}, folder), actor="tester")
    context = RunContext(settings, params, "c" * 40)
    write_table(context.path("features.parquet"), rows)
    write_json(context.path("version.json"), {"dvc_hash": "d" * 32, "rows": {"customers": 300}})
    churn.train(context, lambda done, total: None)
    return context


@pytest.fixture
def trained(one_training: RunContext, tmp_path: Path) -> RunContext:
    """A copy of that store."""
    shutil.copytree(one_training.store, tmp_path / "store")
    return replace(one_training, settings=from_environment({}, tmp_path / "store"))


def test_E13_validation_figures_are_the_same_whatever_the_test_customers_did(
    trained: RunContext,
) -> None:
    figures = churn.assess(trained, lambda done, total: None)
    rows = pl.read_parquet(trained.path("features.parquet"))
    turned = pl.when(pl.col("split") == "test").then(~pl.col("event")).otherwise(pl.col("event"))
    write_table(trained.path("features.parquet"), rows.with_columns(turned.alias("event")))
    assert churn.assess(trained, lambda done, total: None) == figures
    valid = rows.filter((pl.col("split") == "valid") & pl.col("event").is_not_null())
    units = pl.read_parquet(trained.path("validation_scorecards/churn/candidate.parquet"))
    assert set(units["customer_id"]) == set(valid["customer_id"])


def test_E13_dvc_is_shown_a_validation_figure_with_its_interval_and_the_run_no_test_figure(
    trained: RunContext,
) -> None:
    summary = churn.assess(trained, lambda done, total: None)
    shown = read_json(trained.path("metrics/churn.json"))
    brier = summary["candidate"]["brier"]
    assert shown == {
        "churn_brier": brier["value"],
        "churn_brier_low": brier["low"],
        "churn_brier_high": brier["high"],
    }
    assert brier["low"] < brier["value"] < brier["high"]
    (run,) = browse(trained.settings.tracking_uri)
    assert run["metrics"]["validation_brier"] == pytest.approx(brier["value"])
    assert not [name for name in run["metrics"] if name.startswith(("test_", "reference_"))]


def test_E13_runs_are_compared_on_validation_and_on_the_test_set_only_once_decided(
    tmp_path: Path,
) -> None:
    shop = RegistryFixture(tmp_path)
    client, ids = shop.registry.client, []
    experiment = client.get_run(shop.run_id).info.experiment_id
    for name, rates in {"old": (0.3, 0.1), "new": (0.1, 0.3)}.items():
        run = client.create_run(
            experiment,
            run_name=name,
            tags={"test_data_hash": "t1", "validation_data_hash": "d1", "kind": "asr"},
        )
        client.log_metric(run.info.run_id, "test_wer", 0.1234)
        for folder, rate in zip(("validation_scorecards", "scorecards"), rates, strict=True):
            examples.asr(rate).save(tmp_path / name / folder / "candidate.json")
            client.log_artifacts(run.info.run_id, str(tmp_path / name / folder), folder)
        ids.append(run.info.run_id)

    def asked(*, test: bool) -> str:
        out = io.StringIO()
        console = Console(file=out, width=200, no_color=True)
        page = tmp_path / "page.html"
        compare(console, ids, html=page, across_data=False, store=tmp_path, test=test)
        return out.getvalue() + page.read_text()

    on_validation = asked(test=False)
    assert "better" in on_validation
    assert "0.1234" not in on_validation
    assert "test_wer" not in on_validation
    with pytest.raises(ValueError, match="has not decided on it, so its test figures stay sealed"):
        asked(test=True)
    for run_id in ids:
        client.set_tag(run_id, "decision", "d")
    assert "worse" in asked(test=True), "on the test set the other one is better"


def test_E13_an_experiment_has_a_run_of_its_own_even_where_the_training_is_reused(
    trained: RunContext,
) -> None:
    first = read_json(trained.path("train_churn.json"))["run_id"]
    copy = replace(trained, settings=replace(trained.settings, experiment="bold-fish"))
    summary = churn.assess(copy, lambda done, total: None)
    assert summary["run_id"] != first
    taken = {run["run_id"]: run for run in browse(trained.settings.tracking_uri)}
    assert "validation_brier" not in taken[first]["metrics"]
    own = taken[summary["run_id"]]
    assert own["tags"][runs.EXPERIMENT_TAG] == "bold-fish"
    assert own["tags"][runs.TRAINED_IN_TAG] == first
    assert own["params"] == taken[first]["params"]
