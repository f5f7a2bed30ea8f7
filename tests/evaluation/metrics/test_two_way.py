"""Intervals clustered by customer and by date cover, where those by customer alone do not."""

import numpy as np
import pytest

from evaluation.metrics.two_way import two_way_ratio


def _coverage(seeds: int, *, dates: int, shock: float) -> tuple[float, float]:
    """Returns how often the truth (0) is inside, clustered both ways and by customer alone."""
    customers, inside, by_customer = 60, 0, 0
    customer = np.repeat(np.arange(customers), dates)
    date = np.tile(np.arange(dates), customers)
    ones = np.ones(customers * dates)
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        values = (
            rng.normal(0, 1, customers)[customer]
            + rng.normal(0, shock, dates)[date]
            + rng.normal(0, 1, len(date))
        )
        both = two_way_ratio(values, ones, customer, date)
        alone = two_way_ratio(values, ones, customer, np.zeros(len(date)))
        assert both.low is not None
        assert both.high is not None
        assert alone.low is not None
        assert alone.high is not None
        inside += both.low <= 0 <= both.high
        by_customer += alone.low <= 0 <= alone.high
    return inside / seeds, by_customer / seeds


def test_a_shock_of_a_date_that_hits_all_customers_is_in_the_interval() -> None:
    both, alone = _coverage(200, dates=12, shock=0.7)
    assert both >= 0.91
    assert alone < 0.85


def test_without_such_shocks_it_is_not_narrower_than_by_customer() -> None:
    both, alone = _coverage(200, dates=12, shock=0.0)
    assert both >= alone
    assert alone >= 0.91


def test_one_customer_has_no_interval_and_no_weight_no_figure() -> None:
    ones = np.ones(3)
    assert two_way_ratio(ones, ones, np.zeros(3), np.arange(3)).low is None
    with pytest.raises(ValueError, match="weigh nothing"):
        two_way_ratio(ones, ones * 0, np.arange(3), np.arange(3))
