"""Effects told from a log in which others chose: right where a plain comparison is wrong."""

from __future__ import annotations

import numpy as np
import pytest

from evaluation.metrics.bootstrap import means, ratio_of_sums
from evaluation.metrics.uplift import aipw_scores, auuc_parts, ipw_scores, qini_parts


def a_biased_log(
    n: int = 40_000, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Half of the customers are at high risk and get the offer four times in five.

    It keeps one in ten of them. Returns high, propensity, offered and left, each [n].
    """
    rng = np.random.default_rng(seed)
    high = rng.random(n) < 0.5
    propensity = np.where(high, 0.8, 0.2)
    offered = rng.random(n) < propensity
    risk = np.where(high, 0.4 - 0.1 * offered, 0.1)
    left = (rng.random(n) < risk).astype(float)
    return high, propensity, offered, left


def test_the_effect_comes_out_where_a_plain_comparison_has_the_wrong_sign() -> None:
    high, propensity, offered, left = a_biased_log()
    assert left[~offered].mean() - left[offered].mean() < -0.05
    right = aipw_scores(
        offered,
        propensity,
        left,
        untreated=np.where(high, 0.4, 0.1),
        treated=np.where(high, 0.3, 0.1),
    )
    for scores in (ipw_scores(offered, propensity, left), right):
        assert scores.mean() == pytest.approx(0.05, abs=0.012)
        assert scores[high].mean() == pytest.approx(0.1, abs=0.015)
    assert right.std() < ipw_scores(offered, propensity, left).std()


def test_doubly_robust_survives_one_wrong_part() -> None:
    high, propensity, offered, left = a_biased_log()
    wrong = {"untreated": np.full(len(left), 0.1), "treated": np.full(len(left), 0.6)}
    assert aipw_scores(offered, propensity, left, **wrong).mean() == pytest.approx(0.05, abs=0.025)
    models = {"untreated": np.where(high, 0.4, 0.1), "treated": np.where(high, 0.3, 0.1)}
    careless = np.full(len(left), 0.5)
    assert aipw_scores(offered, careless, left, **models).mean() == pytest.approx(0.05, abs=0.012)
    assert (
        abs(ipw_scores(offered, careless, left).mean() - 0.05) > 0.05
    )  # propensities are all it has


def test_a_certain_choice_is_refused() -> None:
    with pytest.raises(ValueError, match="nobody to compare with"):
        ipw_scores(np.array([True, False]), np.array([1.0, 0.5]), np.zeros(2))


def test_qini_and_auuc_of_four_customers_by_hand() -> None:
    scores, weight = np.array([1.0, 0.0, 0.0, -1.0]), np.ones(4)
    best, worst = np.array([4, 3, 2, 1]), np.array([1, 2, 3, 4])
    # The curve goes through 0, 1/4, 1/4, 1/4, 0: three quarters of 1/4 under it, and the straight line is 0.
    assert auuc_parts(best, scores, weight).mean() == pytest.approx(3 / 16)
    assert qini_parts(best, scores, weight).mean() == pytest.approx(3 / 16)
    assert qini_parts(worst, scores, weight).mean() == pytest.approx(-3 / 16)
    assert qini_parts(np.zeros(4), scores, weight).mean() == pytest.approx(0.0)
    shifted = scores + 1  # helps everyone by one more: no ranking deserves credit for that
    assert qini_parts(best, shifted, weight).mean() == pytest.approx(3 / 16)
    assert auuc_parts(best, shifted, weight).mean() == pytest.approx(3 / 16 + 1 / 2)


def test_means_are_the_ratios_of_sums_on_the_same_draws() -> None:
    rng = np.random.default_rng(1)
    part, weight, customer = (
        rng.normal(size=300),
        rng.random(300),
        rng.integers(0, 80, 300).astype(str),
    )
    intervals = means({"zero": np.zeros(300), "part": part}, weight, customer, seed=5)
    assert intervals["part"] == ratio_of_sums(part * weight, weight, customer, seed=5)
    assert (intervals["zero"].value, intervals["zero"].low, intervals["zero"].high) == (0, 0, 0)
    alone = means({"part": part}, weight, np.full(300, "one"), seed=5)["part"]
    assert (alone.low, alone.high) == (None, None)
    with pytest.raises(ValueError, match="weigh nothing"):
        means({"part": part}, np.zeros(300), customer, seed=5)
