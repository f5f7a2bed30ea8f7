"""The C-index promises to be Uno's: a comparison of pairs that censoring does not bend, with an honest interval."""

from __future__ import annotations

from datetime import date

import numpy as np
import polars as pl
import pytest

from evaluation.metrics.churn import churn_metrics, outcomes_by_horizon, point_metrics
from evaluation.metrics.churn_concordance import concordant_pairs
from tests.evaluation.metrics.test_churn import predictions
from tests.typing_helpers import known


def by_hand(
    time: np.ndarray,
    event: np.ndarray,
    risk: np.ndarray,
    weight: np.ndarray,
    stratum: np.ndarray,
) -> float:
    """All pairs, one by one."""
    won = all_pairs = 0.0
    for i in range(len(time)):
        for j in range(len(time)):
            later = time[j] > time[i] or (time[j] == time[i] and not event[j])
            if event[i] and later and stratum[i] == stratum[j]:
                all_pairs += weight[i] ** 2
                won += weight[i] ** 2 * ((risk[i] > risk[j]) + 0.5 * (risk[i] == risk[j]))
    return won / all_pairs


@pytest.mark.parametrize("rows", [3, 40, 120])
def test_it_counts_pairs_as_one_would_by_hand(rows: int) -> None:
    rng = np.random.default_rng(rows)
    time, event = rng.integers(1, 15, rows).astype(float), rng.random(rows) < 0.5
    event[0], time[0] = True, 1.0
    risk, weight = rng.random(rows).round(1), rng.random(rows) + 0.5
    stratum = rng.integers(0, 1 + rows // 20, rows)
    agree, pairs = concordant_pairs(time, event, risk, weight=weight, stratum=stratum)
    assert agree.sum() / pairs.sum() == pytest.approx(by_hand(time, event, risk, weight, stratum))


def test_knowing_the_order_is_one_and_a_coin_is_a_half() -> None:
    frame = predictions(1500)
    left, _ = outcomes_by_horizon(frame, 90)
    order = pl.Series("risk_90", 1 / (1 + frame["time_days"].to_numpy()))
    assert point_metrics(frame.with_columns(order))["c_index_90"] == 1
    assert point_metrics(frame.with_columns(pl.lit(0.3).alias("risk_90")))["c_index_90"] == 0.5
    assert 0.5 < point_metrics(frame)["c_index_90"] < 1
    assert 0.2 < left.mean() < 0.5


def test_censoring_that_goes_with_risk_of_being_seen_does_not_bend_it() -> None:
    whole, cut = (
        point_metrics(predictions(8000, observed_days=observed))["c_index_90"]
        for observed in ((900, 900), (10, 200))
    )
    assert cut == pytest.approx(whole, abs=0.015)


def test_customers_of_different_dates_are_not_compared() -> None:
    first = predictions(400)
    # At the second date risks are higher throughout, which says nothing about who leaves first at the same date.
    second = predictions(400, seed=5, as_of=date(2026, 2, 1)).with_columns(
        (pl.col("risk_90") * 0.1 + 0.9).alias("risk_90")
    )
    second = second.with_columns(pl.format("D{}", pl.col("customer_id")).alias("customer_id"))
    c_index = {
        name: point_metrics(frame)["c_index_90"]
        for name, frame in {"one": first, "two": second, "both": pl.concat([first, second])}.items()
    }
    assert (
        min(c_index["one"], c_index["two"])
        <= c_index["both"]
        <= max(c_index["one"], c_index["two"])
    )


def test_the_interval_is_that_of_drawing_customers_again_and_again() -> None:
    frame = predictions(250)
    interval = churn_metrics(frame, seed=3)["risk_90"]["c_index"]
    rng = np.random.default_rng(0)
    left, weight = outcomes_by_horizon(frame, 90)
    columns = [frame[name].to_numpy() for name in ("time_days", "event", "risk_90")]
    drawn = []
    for _ in range(300):
        rows = rng.integers(0, 250, 250)
        agree, pairs = concordant_pairs(
            *(column[rows] for column in columns),
            weight=(weight * left)[rows],
            stratum=np.zeros(250),
        )
        drawn.append(agree.sum() / pairs.sum())
    low, high = np.quantile(drawn, [0.025, 0.975])
    lower, upper = known(interval.low), known(interval.high)
    assert upper - lower == pytest.approx(high - low, rel=0.15)
    assert lower < interval.value < upper
