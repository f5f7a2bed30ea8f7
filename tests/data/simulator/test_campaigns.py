"""Call backs change who leaves when, as the truth says, and nothing else about the centre."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from data import sources
from data.simulator import SimulatorParams, simulate, truth
from data.simulator.params import Campaigns
from data.simulator.tables import numbered
from data.simulator.world import World, build

PLAIN = SimulatorParams(seed=5, customers=3000, futures=150)
CALLED = replace(PLAIN, campaigns=Campaigns(months=10, reach=0.9, random_share=1.0))


@pytest.fixture(scope="module")
def worlds() -> tuple[World, World]:
    return build(PLAIN), build(CALLED)


def test_contacts_keep_their_number_and_their_words(worlds: tuple[World, World]) -> None:
    plain, called = (
        {(c.number, c.touch): c for c in numbered(world) if c.happened} for world in worlds
    )
    both = plain.keys() & called.keys()
    assert len(both) > 0.95 * len(plain)
    assert len(both) < max(len(plain), len(called))  # some left earlier or later
    assert all(plain[key].contact_id == called[key].contact_id for key in both)
    assert all(
        (plain[key].seed, plain[key].agents) == (called[key].seed, called[key].agents)
        for key in both
    )


def test_decisions_keep_the_rules_of_the_log(worlds: tuple[World, World]) -> None:
    _, world = worlds
    decisions = world.decisions
    by_customer: dict[int, list[int]] = {}
    for decision in decisions:
        by_customer.setdefault(decision.number, []).append(decision.day)
        left = world.left_on[decision.number]
        assert left is None or left >= world.starts + timedelta(days=decision.day)
        assert world.people[decision.number].since < world.starts + timedelta(days=decision.day)
    assert all(np.diff(days).min(initial=999) >= 180 for days in by_customer.values())
    assert np.mean([decision.offered for decision in decisions]) == pytest.approx(0.5, abs=0.03)


def test_the_true_effect_is_what_happens(worlds: tuple[World, World]) -> None:
    """As many leave as the true risks add up to, among those called and among those not."""
    _, world = worlds
    customers_by_day: dict[date, set[str] | None] = {}
    for decision in world.decisions:
        customers = customers_by_day.setdefault(world.starts + timedelta(days=decision.day), set())
        assert customers is not None
        customers.add(world.people[decision.number].customer_id)
    true_effects = truth.true_effects(world, customers_by_day)
    left = {
        person.customer_id: day for person, day in zip(world.people, world.left_on, strict=True)
    }
    rows = pl.DataFrame(
        [
            (
                world.people[decision.number].customer_id,
                world.starts + timedelta(days=decision.day),
                decision.offered,
            )
            for decision in world.decisions
        ],
        schema=["customer_id", "as_of", "offered"],
        orient="row",
    ).join(true_effects, on=["customer_id", "as_of"])
    gone = np.array(
        [
            left[who] is not None and left[who] < day + timedelta(days=180)
            for who, day in rows.select("customer_id", "as_of").iter_rows()
        ]
    )
    effect = (rows["risk_180"] - rows["treated_180"]).to_numpy()
    helped = effect > np.quantile(effect, 0.8)
    assert rows["offered"].to_numpy()[helped].mean() == pytest.approx(
        0.5, abs=0.06
    )  # the truth is of before the call
    for offered, column in ((True, "treated_180"), (False, "risk_180")):
        for group in (helped, ~helped):
            part = group & (rows["offered"].to_numpy() == offered)
            risk = rows[column].to_numpy()[part]
            assert abs(gone[part].sum() - risk.sum()) < 3 * np.sqrt((risk * (1 - risk)).sum())
    assert effect[helped].mean() > 0.03
    assert (effect < -0.01).mean() > 0.1  # sleeping dogs


def test_the_export_and_its_truth_tell_of_campaigns_only_where_there_are_some(
    tmp_path: Path,
) -> None:
    small = replace(PLAIN, customers=80, days=500, calls=0, faults=0, futures=20)
    simulate(small, tmp_path / "plain", tmp_path / "plain truth")
    assert not (tmp_path / "plain/interventions.csv").exists()
    assert not (tmp_path / "plain truth/treatments.parquet").exists()
    made = replace(small, campaigns=Campaigns(months=6))
    summary = simulate(made, tmp_path / "called", tmp_path / "truth")
    delivery = sources.read("folder", tmp_path / "called")
    assert delivery.refusals == []
    assert delivery.interventions.height == summary["decisions"] > 30
    assert delivery.interventions["propensity"].is_between(0.01, 0.99).all()
    assert set(delivery.interventions["assigned_by"]) == {"random", "agent"}
    true_effects = pl.read_parquet(tmp_path / "truth/treatments.parquet")
    logged = delivery.interventions.rename({"decided_on": "as_of"})
    assert logged.join(true_effects, on=["customer_id", "as_of"], how="anti").is_empty()
    assert {f"treated_{days}" for days in truth.HORIZONS} < set(true_effects.columns)
