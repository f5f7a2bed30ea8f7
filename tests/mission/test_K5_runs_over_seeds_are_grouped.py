"""K5: runs that differ in the seed alone are one setting; two settings are told apart, or not."""

from __future__ import annotations

import io
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from rich.console import Console

from data.files import write_json, write_table
from evaluation.compare import RunView
from evaluation.compare import compare as compare_views
from evaluation.report.comparison import comparison_page, print_comparison, sparkline
from evaluation.scorecard import Ratio, Scorecard, score_units
from flows.candidate import runs, scorecards
from flows.commands.compare import compare
from flows.runtime.context import RunContext
from flows.runtime.params import Params
from flows.runtime.settings import from_environment
from tests.churn_helpers import churn_table
from training.browse import browse, learning_curves
from training.churn.settings import ChurnTraining

CUSTOMERS, SEEDS = 60, range(5)
GAINS = {1.0: 0.0, 3.0: 0.05, 4.0: 0.0}  # of a ridge, in Brier score


def _card(seed: int, ridge: float) -> Scorecard:
    """Losses of the same customers; a ridge gains something, a seed is lucky or not."""
    customers = np.random.default_rng(0).uniform(0.1, 0.3, CUSTOMERS)
    rng = np.random.default_rng([seed, int(10 * ridge)])
    loss = customers - GAINS[ridge] + rng.normal(0, 0.004) + rng.normal(0, 0.02, CUSTOMERS)
    units = pl.DataFrame(
        {
            "unit": [f"C{n}" for n in range(CUSTOMERS)],
            "cluster": [f"C{n}" for n in range(CUSTOMERS)],
            "customer_id": [f"C{n}" for n in range(CUSTOMERS)],
            "loss": loss,
            "weight": np.ones(CUSTOMERS),
        }
    )
    ratios = {"brier": Ratio("loss", "weight")}
    metrics, _ = score_units(units, ratios, (), seed=0)
    return Scorecard("churn", f"ridge {ridge}", "v1", "now", metrics, ratios, units)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunContext, dict[float, str]]:
    """A store with the runs of three settings over five seeds, and a run of each setting."""
    settings = from_environment({}, tmp_path_factory.mktemp("seeds") / "store")
    context, examples = RunContext(settings, Params(), "c" * 40), {}
    write_table(context.path("features.parquet"), churn_table(20))
    write_json(context.path("version.json"), {"dvc_hash": "d" * 32, "rows": {}})
    for ridge in GAINS:
        for seed in SEEDS:
            churn = ChurnTraining(seed=seed, ridge=ridge)
            here = replace(context, params=Params(churn=churn))
            with runs.training_run(here, "churn", asdict(churn)) as run:
                for step in range(4):
                    run.log_metrics({"valid_loss": 1 / (step + 1)}, step)
            summary = {"run_id": run.run_id, "bundle_sha256": run.run_id}
            write_json(here.path("train_churn.json"), summary)
            scorecards.write_validation_scorecard(here, "churn", _card(seed, ridge))
            examples[ridge] = run.run_id
    return context, examples


def _printed(trained: tuple[RunContext, dict[float, str]], *ridges: float) -> str:
    context, examples = trained
    out = io.StringIO()
    compare(
        Console(file=out, width=200, no_color=True),
        [examples[ridge] for ridge in ridges],
        html=None,
        across_data=False,
        store=context.store,
        over_seeds=True,
    )
    return " ".join(out.getvalue().split())


def test_K5_runs_that_differ_in_the_seed_alone_are_one_group(
    trained: tuple[RunContext, dict[float, str]],
) -> None:
    groups: dict[str, set[str]] = {}
    for run in browse(trained[0].settings.tracking_uri):
        groups.setdefault(run["tags"]["group"], set()).add(run["params"]["ridge"])
    assert sorted(groups.values(), key=str) == [{"1.0"}, {"3.0"}, {"4.0"}]


def test_K5_two_settings_of_five_seeds_are_told_apart_or_not_with_an_interval(
    trained: tuple[RunContext, dict[float, str]],
) -> None:
    better = _printed(trained, 1.0, 3.0)
    assert "over 5 common seeds" in better
    assert ", better." in better
    assert "SD between seeds" in better
    assert ", no sure difference." in _printed(trained, 1.0, 4.0)


def test_K5_learning_curves_stand_side_by_side_in_terminal_and_page(
    trained: tuple[RunContext, dict[float, str]],
) -> None:
    context, examples = trained
    curves = learning_curves(context.settings.tracking_uri, examples[1.0])
    assert curves == {"valid_loss": [(0, 1.0), (1, 0.5), (2, pytest.approx(1 / 3)), (3, 0.25)]}
    views = [
        RunView(f"{n}" * 32, {}, {}, data_hash="v1", curves=curves, scored_on="validation")
        for n in range(2)
    ]
    result, out = compare_views(views), io.StringIO()
    print_comparison(result, Console(file=out, width=200, no_color=True))
    assert out.getvalue().count("1.0000 █▃▂▁ 0.2500") == 2
    page = comparison_page(result)
    assert page.count("<polyline") == 2
    assert "Learning curves" in page
    assert sparkline([]) == "–"
    assert len(sparkline(list(range(1000))).split()[1]) == 32
    assert Path(context.store).exists()
