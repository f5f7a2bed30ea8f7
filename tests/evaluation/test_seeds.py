"""Two settings over seeds: the interval covers, a true gain is found, too little is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from evaluation.scorecard import Estimate, Ratio, Scorecard
from evaluation.seeds import SeedError, compare_seeds

RATIO = {"loss": Ratio("loss", "weight")}
CUSTOMERS, ROWS, SEEDS = 60, 2, 5


def _cards(
    rng: np.random.Generator, gain: float, seed_sd: float, unit_sd: float
) -> tuple[dict[int, Scorecard], dict[int, Scorecard]]:
    """Scorecards of two settings by seed; `other` has a loss that is `gain` lower on average."""
    customer = rng.normal(0.5, 0.2, CUSTOMERS).repeat(ROWS)
    taste = rng.normal(0, unit_sd, CUSTOMERS).repeat(ROWS)  # what the setting gains on a customer
    sides: tuple[dict[int, Scorecard], dict[int, Scorecard]] = ({}, {})
    for seed in range(SEEDS):
        noise = rng.normal(0, 0.05, CUSTOMERS * ROWS)
        for number, cards in enumerate(sides):
            lucky = rng.normal(0, seed_sd)
            loss = customer + noise + lucky - number * (gain + taste)
            cards[seed] = _card(loss)
    return sides


def _card(loss: np.ndarray, data_hash: str = "v1") -> Scorecard:
    units = pl.DataFrame(
        {
            "unit": [f"u{n}" for n in range(loss.size)],
            "cluster": [f"c{n // ROWS}" for n in range(loss.size)],
            "loss": loss,
            "weight": np.ones(loss.size),
        }
    )
    metrics = {"loss": Estimate(float(loss.mean()), None, None, loss.size, lower_is_better=True)}
    return Scorecard("churn", "m", data_hash, "now", metrics, RATIO, units)


@pytest.mark.parametrize(("seed_sd", "unit_sd"), [(0.05, 0.02), (0.005, 0.2)])
def test_K5_the_interval_holds_no_gain_in_most_of_60_comparisons_of_equals(
    seed_sd: float, unit_sd: float
) -> None:
    rng = np.random.default_rng(5)
    results = [compare_seeds(*_cards(rng, 0.0, seed_sd, unit_sd), "loss") for _ in range(60)]
    covered = sum(result.low <= 0 <= result.high for result in results)
    assert covered >= 53, "95 % less two and a half standard errors"
    shares = np.median([result.seed_share for result in results])
    assert shares > 0.6 if seed_sd > unit_sd else shares < 0.2


def test_K5_a_gain_larger_than_both_spreads_is_told_apart_and_one_that_is_smaller_is_not() -> None:
    rng = np.random.default_rng(6)
    clear = compare_seeds(*_cards(rng, 0.08, 0.02, 0.05), "loss", names=("a", "b"))
    assert clear.is_significant
    assert clear.low < clear.gain < clear.high
    assert clear.gain == pytest.approx(0.08, abs=0.04)
    assert (clear.first.seeds, clear.first.sd is not None) == (SEEDS, True)
    drowned = compare_seeds(*_cards(rng, 0.004, 0.05, 0.05), "loss")
    assert not drowned.is_significant


def test_K5_one_seed_or_other_data_is_refused() -> None:
    first, other = _cards(np.random.default_rng(7), 0.0, 0.02, 0.02)
    with pytest.raises(SeedError, match="1 seed in common, 2 are needed"):
        compare_seeds({0: first[0]}, other, "loss")
    moved = {seed: replace(card, data_hash="v2") for seed, card in other.items()}
    with pytest.raises(SeedError, match="different data"):
        compare_seeds(first, moved, "loss")
