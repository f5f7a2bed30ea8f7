"""The sequential comparison keeps its level over all nights, and tells worse from unproven."""

from __future__ import annotations

import numpy as np
import pytest

from evaluation.monitoring import sequential
from evaluation.monitoring.sequential import Figure, State, compare, evidence, ratio_figure

PROMOTED = Figure(0.317, 0.0165**2, 0)
MARGIN = 0.0317


def figure(value: float, error: float, clusters: int = 100) -> Figure:
    return Figure(value, error**2, clusters)


def state(now: Figure, then: Figure = PROMOTED) -> State:
    return compare(now, then, margin=MARGIN, level=0.05, min_clusters=10).state


def test_31_7_to_37_is_worse_once_enough_is_heard_and_never_holds() -> None:
    assert state(figure(0.37, 0.05)) is State.UNPROVEN
    assert state(figure(0.37, 0.004)) is State.WORSE


def test_holds_is_said_only_where_a_loss_of_the_margin_is_ruled_out() -> None:
    sharp = Figure(0.317, 0.006**2, 0)
    assert state(figure(0.317, 0.004), sharp) is State.HOLDS
    assert state(figure(0.317, 0.02), sharp) is State.UNPROVEN


def test_too_few_clusters_prove_nothing() -> None:
    assert state(figure(0.9, 0.001, clusters=9)) is State.UNPROVEN
    assert ratio_figure(np.array([1.0]), np.array([2.0]), np.array(["a"])).variance == float("inf")
    assert state(figure(0.9, 0.001), Figure(0.317, float("inf"), 0)) is State.UNPROVEN


def test_higher_is_better_is_turned_round() -> None:
    found = compare(
        figure(0.6, 0.004),
        Figure(0.8, 0.01**2, 0),
        margin=0.05,
        level=0.05,
        min_clusters=10,
        lower_is_better=False,
    )
    assert found.state is State.WORSE
    assert found.difference == pytest.approx(0.2)
    assert found.low is not None
    assert found.low > 0


def nights_of(
    rng: np.random.Generator, centres: int, nights: int, loss: float, error: float = 0.02
) -> tuple[np.ndarray, np.ndarray, float]:
    """Running differences and information: each night adds a tenth of the reference's own."""
    each = error * 10**0.5
    now = rng.normal(loss, each, (centres, nights)).cumsum(1) / np.arange(1, nights + 1)
    then = rng.normal(0, error, (centres, 1))
    variance = each**2 / np.arange(1, nights + 1) + error**2
    return now - then, np.broadcast_to(1 / variance, now.shape), 1 / error**2


@pytest.mark.parametrize("loss", [0.0, MARGIN])
def test_the_level_is_kept_over_a_year_of_nights(loss: float) -> None:
    """At no loss "worse", and at a loss of the margin "holds", in at most 5 % of 4,000 centres."""
    difference, information, most = nights_of(np.random.default_rng(0), 4000, 365, loss)
    claim = difference if loss == 0 else MARGIN - difference
    ever = (evidence(claim, information, most, scale=MARGIN, level=0.05) >= 20).any(1)
    assert 0.01 < ever.mean() < 0.05 + 2 * (0.05 * 0.95 / 4000) ** 0.5


def test_without_a_fixed_side_the_level_is_kept_as_well() -> None:
    rng = np.random.default_rng(1)
    apart = rng.normal(0, 0.1, (4000, 365)).cumsum(1) / np.arange(1, 366)
    information = np.broadcast_to(np.arange(1, 366) / 0.1**2, apart.shape)
    ever = (evidence(apart, information, float("inf"), scale=0.03, level=0.01) >= 100).any(1)
    assert ever.mean() <= 0.01 + 2 * (0.01 * 0.99 / 4000) ** 0.5


def test_a_loss_of_five_points_is_found_in_most_centres() -> None:
    difference, information, most = nights_of(np.random.default_rng(2), 1000, 60, 0.053, 0.0165)
    ever = (evidence(difference, information, most, scale=MARGIN, level=0.05) >= 20).any(1)
    assert ever.mean() > 0.6


def test_overall_is_worse_as_soon_as_one_is_and_nothing_is_unproven() -> None:
    assert sequential.overall([State.HOLDS, State.WORSE]) is State.WORSE
    assert sequential.overall([State.HOLDS, State.UNPROVEN]) is State.UNPROVEN
    assert sequential.overall([]) is State.UNPROVEN
