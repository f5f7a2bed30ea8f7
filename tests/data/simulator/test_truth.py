"""The true risks are the probabilities with which simulated customers do leave."""

from dataclasses import replace
from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest

from data.simulator import truth
from data.simulator.params import Effects, SimulatorParams
from data.simulator.world import World, build

NO_EFFECT = Effects(**{name: 0.0 for name in Effects.__dataclass_fields__ if name != "memory_days"})
COLUMNS = [f"risk_{horizon}" for horizon in truth.HORIZONS]

# A centre, a day and the true risks as of that day.
Scored = tuple[World, date, pl.DataFrame]


def left_within(world: World, risks: pl.DataFrame, as_of: date, horizon: int) -> np.ndarray:
    left = dict(zip([person.customer_id for person in world.people], world.left_on, strict=True))
    until = as_of + timedelta(days=horizon)
    days = [left[customer_id] for customer_id in risks["customer_id"]]
    return np.array([day is not None and day < until for day in days])


@pytest.fixture(scope="module")
def worlds() -> list[Scored]:
    """Two independent centres of 4,000 customers, and their risks a year before the end."""
    simulated = []
    for seed in (11, 12):
        world = build(SimulatorParams(seed=seed, customers=4000))
        as_of = world.params.ends - timedelta(days=364)
        simulated.append((world, as_of, truth.true_risks(world, [as_of])))
    return simulated


@pytest.mark.parametrize("horizon", truth.HORIZONS)
def test_risks_are_calibrated_against_what_happened(worlds: list[Scored], horizon: int) -> None:
    risk = np.concatenate([risks[f"risk_{horizon}"].to_numpy() for _, _, risks in worlds])
    seen = np.concatenate(
        [left_within(world, risks, as_of, horizon) for world, as_of, risks in worlds]
    )
    for fifth in np.array_split(np.argsort(risk), 5):
        spread = np.sqrt((risk[fifth] * (1 - risk[fifth])).sum())
        assert abs(seen[fifth].sum() - risk[fifth].sum()) < 1 + 3 * spread
    assert abs(seen.sum() - risk.sum()) < 3 * np.sqrt((risk * (1 - risk)).sum())
    assert risk[seen].mean() > 1.3 * risk[~seen].mean()


def test_without_effects_the_risk_is_the_closed_form() -> None:
    world = build(SimulatorParams(customers=100, effects=NO_EFFECT, futures=50))
    as_of = truth.months(world)[3]
    day = (as_of - world.starts).days
    risks = truth.true_risks(world, [as_of])
    rows = [int(who[1:]) for who in risks["customer_id"]]
    for horizon in truth.HORIZONS:
        exact = 1 - np.exp(-world.base[rows, day : day + horizon].sum(axis=1))
        assert risks[f"risk_{horizon}"].to_numpy() == pytest.approx(exact, abs=1e-4)


def test_risks_are_exact_to_a_hundredth(worlds: list[Scored]) -> None:
    world, as_of, risks = worlds[0]
    other = replace(
        world, params=replace(world.params, seed=99)
    )  # the same past, futures drawn anew
    again = truth.true_risks(other, [as_of])
    assert again["customer_id"].to_list() == risks["customer_id"].to_list()
    for column in COLUMNS:
        difference = np.abs(again[column].to_numpy() - risks[column].to_numpy())
        assert np.quantile(difference, 0.99) < 0.01 * np.sqrt(
            2
        )  # two draws, each within a hundredth
        assert difference.max() < 0.04


def test_risks_grow_with_the_horizon_and_stay_probabilities(worlds: list[Scored]) -> None:
    _, _, risks = worlds[0]
    values = risks.select(COLUMNS).to_numpy()
    assert np.all(np.diff(values, axis=1) > 0)
    assert np.all((values > 0) & (values < 1))


def test_what_happens_after_the_day_changes_no_risk(worlds: list[Scored]) -> None:
    world, as_of, risks = worlds[0]
    day = (as_of - world.starts).days
    blind = replace(
        world, touches=[[touch for touch in path if touch.day < day] for path in world.touches]
    )
    assert truth.true_risks(blind, [as_of]).equals(risks)


def test_there_are_risks_for_every_month_and_for_the_day_after_the_window() -> None:
    world = build(SimulatorParams(customers=60, futures=50))
    days = truth.months(world)
    assert days[-1] == world.params.ends + timedelta(days=1)
    assert all(day.day == 1 for day in days[:-1])
    assert len(days) == 22
    risks = truth.true_risks(world, days)
    still = sum(left is None for left in world.left_on)
    assert risks.filter(pl.col("as_of") == days[-1]).height == still
