"""Churn training survives a kill, uses censored customers, and says what it cannot learn."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from data.features.features import describe
from evaluation.metrics.churn import point_metrics
from evaluation.metrics.churn_references import kaplan_meier
from models.churn.encoding import Encoder
from models.churn.hazard import HazardNetwork
from models.churn.model import ChurnConfig, ChurnModel, describe_columns
from tests.churn_helpers import QUICK, RecordedRun, churn_table
from training.churn.additive import fit_additive
from training.churn.boosting import Boosting
from training.churn.learnable import ChurnTrainingError
from training.churn.likelihood import calibrate, encode
from training.churn.settings import ChurnTraining
from training.churn.train import train


def scored(model: Path, table: pl.DataFrame) -> dict[str, float]:
    test = table.filter(split="test")
    return point_metrics(
        test.join(ChurnModel.load(model).predict(test), on=["customer_id", "as_of"])
    )


def test_horizons_that_nobody_was_followed_to_are_left_out_and_named(tmp_path: Path) -> None:
    table = churn_table().filter(pl.col("time_days") <= 170)
    summary = train(replace(QUICK, epochs=0), table, tmp_path, run=RecordedRun())
    assert (summary["horizons_days"], summary["horizons_left_out"]) == ([30, 90], [180, 365])
    assert ChurnModel.load(Path(summary["model"])).config.risk_names == ("risk_30", "risk_90")


def test_outcomes_too_short_for_any_horizon_are_refused_with_what_to_do(tmp_path: Path) -> None:
    table = churn_table(effect=2.0).with_columns(
        pl.min_horizontal("time_days", pl.lit(20.0)).alias("time_days")
    )
    with pytest.raises(
        ChurnTrainingError, match=r"no horizon of 30, 90, 180, 365 days.*churn.horizons_days"
    ):
        train(replace(QUICK, min_events=1), table, tmp_path, run=RecordedRun())


def test_it_learns_who_leaves(tmp_path: Path) -> None:
    table = churn_table(1200)
    summary = train(QUICK, table, tmp_path, run=RecordedRun())
    test = table.filter(split="test")
    life_table = kaplan_meier(table.filter(split="train"), test, QUICK.horizons_days)
    before, after = (
        point_metrics(test.join(life_table, on=["customer_id", "as_of"])),
        scored(Path(summary["model"]), table),
    )
    assert after["brier_180"] < 0.95 * before["brier_180"]
    assert after["auc_180"] > 0.7


def test_targets_without_dates_are_learned_too(tmp_path: Path) -> None:
    table = churn_table(1500, dated=False)
    summary = train(
        replace(QUICK, boosting=Boosting(rounds=60, depth=3)), table, tmp_path, run=RecordedRun()
    )
    assert summary["horizons_days"] == []
    assert scored(Path(summary["model"]), table)["auc"] > 0.7
    assert 0 < summary["trees"] <= 60
    assert 0.2 < summary["tree_share"] < 0.8
    assert summary["kept_valid_loss"] < summary["first_valid_loss"]


def test_what_valid_was_used_for_is_not_reported_on_it(tmp_path: Path) -> None:
    """The last fit learns from valid as well; the figures on valid are those of the fit before."""
    table = churn_table(400, dated=False)
    summary = train(
        replace(QUICK, epochs=30, boosting=Boosting(rounds=400)), table, tmp_path, run=RecordedRun()
    )
    kept = ChurnModel.load(Path(summary["model"]))
    valid = table.filter(split="valid")
    seen = point_metrics(valid.join(kept.predict(valid), on=["customer_id", "as_of"]))
    assert seen["log_loss"] < summary["valid"]["log_loss"]
    assert summary["valid"]["log_loss"] == pytest.approx(summary["kept_valid_loss"], abs=0.05)


def test_half_observed_customers_bias_nothing(tmp_path: Path) -> None:
    """Counting only who left, or dropping who was censored, would double these risks."""
    table = churn_table(12000, effect=0.0).drop("friction_30d", "plan")
    summary = train(QUICK, table, tmp_path, run=RecordedRun())
    test = table.filter(split="test")
    mean = (
        ChurnModel.load(Path(summary["model"]))
        .predict(test)
        .select(pl.selectors.starts_with("risk_"))
        .mean()
        .row(0)
    )
    true = [1 - np.exp(-0.0012 * days) for days in QUICK.horizons_days]
    assert mean == pytest.approx(true, rel=0.15)


def test_the_run_hears_of_every_pass_and_of_the_result(tmp_path: Path) -> None:
    run, seen = RecordedRun(), []
    summary = train(
        QUICK,
        churn_table(),
        tmp_path,
        run=run,
        progress=lambda done, total: seen.append((done, total)),
    )
    steps = [step for step, metrics in run.metrics if "valid_loss" in metrics]
    assert steps == list(range(1, summary["epochs"] + 1))
    assert {"brier_90", "auc_90", "temperature"} <= set(run.metrics[-1][1])
    assert run.params["used"]["rows"] == summary["rows"]["train"]
    assert seen[-1] == (QUICK.epochs, QUICK.epochs)


def test_it_stops_when_valid_gets_no_better_and_keeps_the_best(tmp_path: Path) -> None:
    hasty = ChurnTraining(epochs=60, patience=2, hidden=64, learning_rate=2e-2, min_customers=40)
    run = RecordedRun()
    summary = train(hasty, churn_table(300), tmp_path, run=run)
    losses = {
        step: metrics["valid_loss"] for step, metrics in run.metrics if "valid_loss" in metrics
    }
    assert summary["epochs"] == summary["best_epoch"] + 2 < 60
    assert summary["valid_loss"] <= min(losses.values())
    train(
        replace(hasty, epochs=summary["best_epoch"]),
        churn_table(300),
        tmp_path / "no further",
        run=RecordedRun(),
    )
    assert weights(tmp_path) == weights(tmp_path / "no further")


def test_the_same_training_twice_gives_the_same_weights(tmp_path: Path) -> None:
    for name in ("a", "b", "a"):
        train(QUICK, churn_table(), tmp_path / name, run=RecordedRun())
    assert weights(tmp_path / "a") == weights(tmp_path / "b")


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, {root!r})
from tests.churn_helpers import QUICK, RecordedRun, churn_table
from training.churn.train import train
from tests.churn_helpers import QUICK, RecordedRun, churn_table


class Dying(RecordedRun):
    def log_metrics(self, metrics, step):
        if step == 5:
            os.kill(os.getpid(), signal.SIGKILL)

train(QUICK, churn_table(), Path({work!r}), run=Dying())
"""


def test_a_killed_training_goes_on_where_it_was_and_ends_the_same(tmp_path: Path) -> None:
    root = str(Path(__file__).parents[3])
    died = subprocess.run(
        [sys.executable, "-c", KILLED.format(root=root, work=str(tmp_path / "k"))], timeout=300
    )
    assert died.returncode == -9
    assert not (tmp_path / "k" / "model").exists()
    run = RecordedRun()
    summary = train(QUICK, churn_table(), tmp_path / "k", run=run)
    assert summary["resumed_from_epoch"] == 4
    assert run.metrics[0][0] == 5
    train(QUICK, churn_table(), tmp_path / "whole", run=RecordedRun())
    assert weights(tmp_path / "k") == weights(tmp_path / "whole")


def test_other_rows_or_settings_start_from_the_beginning(tmp_path: Path) -> None:
    train(QUICK, churn_table(), tmp_path, run=RecordedRun())
    assert train(QUICK, churn_table(seed=5), tmp_path, run=RecordedRun())["resumed_from_epoch"] == 0
    (tmp_path / "checkpoint.safetensors").write_bytes(b"torn")
    assert train(QUICK, churn_table(seed=5), tmp_path, run=RecordedRun())["resumed_from_epoch"] == 0


def weights(folder: Path) -> bytes:
    return (folder / "model" / "weights.safetensors").read_bytes() + (
        folder / "model" / "config.json"
    ).read_bytes()


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (churn_table().with_columns(pl.lit(False).alias("event")), "nobody among"),
        (churn_table().with_columns(pl.lit(True).alias("event")), "everybody among"),
        (churn_table(30), "customers to learn from, 40 needed"),
        (
            churn_table(90).with_columns(pl.col("event") & (pl.col("event").cum_sum() <= 6)),
            "churners to learn from, 10 needed",
        ),
        (churn_table().filter(pl.col("split") != "valid"), "is in valid"),
        (churn_table().clear(), "is in train"),
        (
            churn_table().with_columns(attr_reason=pl.when("event").then(pl.lit("moved"))),
            "feature attr_reason alone",
        ),
        (churn_table().drop("friction_30d", "monthly_price", "plan"), "no feature varies"),
        (
            churn_table().with_columns(
                pl.when(pl.int_range(pl.len()) > 9).then("time_days").alias("time_days")
            ),
            "some have none",
        ),
    ],
)
def test_what_cannot_be_learned_from_is_said(
    tmp_path: Path, table: pl.DataFrame, message: str
) -> None:
    with pytest.raises(ChurnTrainingError, match=message):
        train(QUICK, table, tmp_path, run=RecordedRun())
    assert not list(tmp_path.iterdir())


def test_horizons_must_increase() -> None:
    with pytest.raises(ValueError, match="increasing"):
        ChurnTraining(horizons_days=(90, 30))


def a_history(rows: int = 3000, seed: int = 0) -> pl.DataFrame:
    """Customers whose hazard is their plan's times 1 + 4 × trouble, which halves in 50 days."""
    rng = np.random.default_rng(seed)
    trouble, smooth = (
        rng.exponential(0.7, rows) * (rng.random(rows) < 0.4),
        rng.exponential(0.7, rows),
    )
    plan = rng.choice(["flex", "plus"], rows)
    base, rate = 0.0006 * np.where(plan == "flex", 2.0, 1.0), np.log(2) / 50
    days = np.arange(1, 501)
    hazard = base[:, None] * (1 + 4 * trouble[:, None] * np.exp(-rate * days))
    gone = np.cumsum(hazard, axis=1) > rng.exponential(1, rows)[:, None]
    event = gone.any(axis=1)
    return pl.DataFrame(
        {
            "customer_id": [f"C{n}" for n in range(rows)],
            "as_of": [date(2026, 1, 1)] * rows,
            "split": rng.choice(["train", "valid", "test"], rows, p=[0.6, 0.2, 0.2]),
            "event": event,
            "time_days": np.where(event, gone.argmax(axis=1) + 1.0, 500.0),
            "plan": plan,
            "friction_unresolved_decayed": trouble,
            "friction_transfer_decayed": smooth,
        }
    )


def test_it_learns_what_experiences_weigh_and_how_they_fade(tmp_path: Path) -> None:
    summary = train(replace(QUICK, epochs=0), a_history(), tmp_path, run=RecordedRun())
    network = ChurnModel.load(Path(summary["model"])).network
    assert isinstance(network, HazardNetwork)
    weights = dict(zip(("unresolved", "transfer"), network.mark.tolist(), strict=True))
    assert 2 < weights["unresolved"] < 8
    assert weights["transfer"] < 0.5
    assert bool((network.fade.diff() < 0).all())


def test_C2_a_customer_who_will_soon_be_an_old_one_is_foreseen_as_one(tmp_path: Path) -> None:
    """The hazard of the first 400 days as a customer is eight times that of later ones."""
    rng = np.random.default_rng(0)
    tenure = rng.integers(1, 1200, 4000)
    hazard = np.where(tenure[:, None] + np.arange(365) < 400, 0.002, 0.00025)
    gone = np.cumsum(hazard, axis=1) > rng.exponential(1, 4000)[:, None]
    event = gone.any(axis=1)
    table = pl.DataFrame(
        {
            "customer_id": [f"C{n}" for n in range(4000)],
            "as_of": [date(2026, 1, 1)] * 4000,
            "split": rng.choice(["train", "valid", "test"], 4000, p=[0.6, 0.2, 0.2]),
            "event": event,
            "time_days": np.where(event, gone.argmax(axis=1) + 1.0, 365.0),
            "tenure_days": tenure.astype(float),
        }
    )
    summary = train(replace(QUICK, epochs=0), table, tmp_path, run=RecordedRun())
    risks = ChurnModel.load(Path(summary["model"])).predict(table)
    for few, many in ((30, 180), (230, 390), (500, 1100)):
        in_group = pl.Series((tenure >= few) & (tenure < many))
        stays = np.exp(-np.cumsum(hazard[in_group.to_numpy()], axis=1)).mean(axis=0)
        late = (
            risks.filter(in_group)
            .select(pl.col("risk_365") - pl.col("risk_180"))
            .to_series()
            .mean()
        )
        assert late == pytest.approx(stays[179] - stays[364], rel=0.25, abs=0.01)


def test_an_ensemble_that_gains_nothing_is_silent(tmp_path: Path) -> None:
    summary = train(QUICK, churn_table(2000, effect=0.0), tmp_path, run=RecordedRun())
    assert not summary["ensemble"]
    network = ChurnModel.load(Path(summary["model"])).network
    assert isinstance(network, HazardNetwork)
    assert network.ensemble_is_zero


def test_an_ensemble_speaks_where_features_matter_only_together(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    table = churn_table(3000, effect=0.0).with_columns(
        friction_30d=pl.Series(rng.uniform(0, 1, 3000))
    )
    odd = ((table["friction_30d"] > 0.5) != (table["plan"] == "flex")).to_numpy()
    leaves = np.ceil(rng.exponential(1 / np.where(odd, 0.006, 0.001)))
    table = table.with_columns(
        time_days=pl.Series(np.minimum(leaves, 300.0)), event=pl.Series(leaves <= 300)
    )
    summary = train(replace(QUICK, epochs=30), table, tmp_path, run=RecordedRun())
    assert summary["ensemble"]
    assert summary["kept_valid_loss"] < summary["first_valid_loss"] - 0.05


def test_C2_a_departure_told_thrice_weighs_as_one(tmp_path: Path) -> None:
    once = a_history(600)
    thrice = pl.concat([once] * 3)
    columns = describe_columns(
        once, [describe("friction_unresolved_decayed"), describe("plan")], bins=4
    )
    encoder, fits = Encoder(columns), []
    for table in (once, thrice):
        rows = encode(encoder, table, (30, 90, 365))
        network = HazardNetwork(ChurnConfig(columns, (30, 90, 365), hidden=4, members=2))
        fit_additive(network, rows, ridge=20.0, mark_cost=5.0, steps=60)
        fits.append((rows.repeats, network.linear, network.mark, calibrate(network, rows)))
    (repeats, linear, mark, (temperature, _)), (repeats_3, linear_3, mark_3, (temperature_3, _)) = (
        fits
    )
    assert (repeats, repeats_3) == (1.0, 3.0)
    assert linear.numpy() == pytest.approx(linear_3.numpy(), abs=0.02)
    assert mark.numpy() == pytest.approx(mark_3.numpy(), rel=0.02)
    assert temperature == pytest.approx(temperature_3, abs=0.005)


def test_refinements_wait_for_many_leavers(tmp_path: Path) -> None:
    table = churn_table(1200)
    few = train(
        replace(QUICK, epochs=0, leavers_per_feature=10_000),
        table,
        tmp_path / "few",
        run=RecordedRun(),
    )
    many = train(
        replace(QUICK, epochs=0, leavers_per_feature=1), table, tmp_path / "many", run=RecordedRun()
    )
    assert few["features_left_out"] == ["friction_30d"]
    assert many["features_left_out"] == []
