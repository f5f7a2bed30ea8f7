"""An interval covers what it should, pairs what is paired, and owns up when there is too little."""

import numpy as np
import pytest

from evaluation.metrics.bootstrap import (
    _student_tail,
    holm,
    paired_difference,
    paired_p,
    ratio_of_sums,
    swapped_p,
)
from tests.typing_helpers import known


def _noise_only(
    seed: int, clusters: int, units: int = 12
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Two models equally good on average whose luck differs from voice to voice."""
    rng = np.random.default_rng(seed)
    voice = np.repeat([f"v{i}" for i in range(clusters)], units)
    words = rng.integers(3, 15, len(voice))
    level = np.repeat(rng.beta(2, 6, clusters), units)
    noise = np.repeat(rng.normal(0, 0.06, clusters), units)
    first, second = (
        rng.binomial(words, np.clip(level + sign * noise / 2, 0.01, 0.99)) for sign in (1, -1)
    )
    return voice, words, first, second


def test_the_value_is_all_errors_over_all_words() -> None:
    interval = ratio_of_sums([1, 0, 3], [2, 4, 4], ["a", "b", "c"], seed=1)
    assert interval.value == 0.4
    assert interval.low is not None
    assert interval.low <= 0.4 <= known(interval.high)
    assert (interval.units, interval.clusters) == (3, 3)


def test_the_same_seed_gives_the_same_interval() -> None:
    voice, words, first, _ = _noise_only(1, 10)
    assert ratio_of_sums(first, words, voice, seed=3) == ratio_of_sums(first, words, voice, seed=3)


def test_units_of_one_voice_are_not_independent_evidence() -> None:
    errors, words = [0] * 50 + [5] * 50, [5] * 100
    apart = ratio_of_sums(errors, words, [str(i) for i in range(100)], seed=1)
    together = ratio_of_sums(
        errors, words, ["a"] * 25 + ["b"] * 25 + ["c"] * 25 + ["d"] * 25, seed=1
    )
    assert known(together.high) - known(together.low) > 2 * (known(apart.high) - known(apart.low))


def test_pairing_makes_a_small_steady_gain_visible() -> None:
    rng = np.random.default_rng(5)
    words = np.full(400, 10)
    first = rng.integers(0, 10, 400)
    second = np.maximum(first - (rng.random(400) < 0.2), 0)
    voice = [str(i // 10) for i in range(400)]
    paired = paired_difference((first, words), (second, words), voice, seed=1)
    alone = [ratio_of_sums(errors, words, voice, seed=1) for errors in (first, second)]
    assert known(paired.low) > 0
    assert known(alone[1].high) > known(alone[0].low)


def test_luck_looks_like_a_gain_no_more_often_than_promised() -> None:
    claims = 0
    for seed in range(400):
        voice, words, first, second = _noise_only(seed, clusters=5)
        gain = paired_difference((first, words), (second, words), voice, seed=seed, draws=400)
        claims += known(gain.low) > 0
    assert claims / 400 < 0.04  # 2.5 % is promised; the plain percentile interval gives 5 %


def test_one_voice_gives_a_figure_without_an_interval() -> None:
    interval = ratio_of_sums([1, 2], [4, 4], ["a", "a"], seed=1)
    assert (interval.value, interval.low, interval.high) == (0.375, None, None)


@pytest.mark.parametrize(
    ("numerator", "denominator", "says"),
    [
        ([], [], "no figure"),
        ([0.0], [0.0], "no figure"),
        ([np.nan], [1.0], "no finite value"),
        ([1.0], [], "columns of"),
    ],
)
def test_nothing_measured_is_an_error(
    numerator: list[float], denominator: list[float], says: str
) -> None:
    with pytest.raises(ValueError, match=says):
        ratio_of_sums(numerator, denominator, ["a"] * len(numerator), seed=1)


@pytest.mark.parametrize(
    ("t", "freedom", "tail"),
    [
        (6.314, 1, 0.05),
        (4.303, 2, 0.025),
        (2.353, 3, 0.05),
        (2.776, 4, 0.025),
        (3.365, 5, 0.01),
        (2.228, 10, 0.025),
    ],
)
def test_the_tail_of_student_is_that_of_the_tables(t: float, freedom: int, tail: float) -> None:
    assert _student_tail(t, freedom) == pytest.approx(tail, rel=2e-3)
    assert _student_tail(-t, freedom) == pytest.approx(1 - tail, rel=2e-3)


def test_p_values_of_equal_models_are_spread_as_promised() -> None:
    ps = []
    for seed in range(400):
        voice, words, first, second = _noise_only(seed, clusters=6)
        ps.append(known(paired_p((first, words), (second, words), voice, seed=seed, draws=300)))
    assert np.mean(np.array(ps) <= 0.05) < 0.08
    assert np.mean(np.array(ps) <= 0.01) < 0.025
    assert 0.4 < np.mean(ps) < 0.6


def test_a_p_value_counts_the_loss_that_is_allowed() -> None:
    voice = [str(n // 10) for n in range(100)]
    rng = np.random.default_rng(0)
    words, first = np.full(100, 10), rng.binomial(10, 0.2, 100)
    second = np.minimum(first + 1, 10)
    assert known(paired_p((first, words), (second, words), voice, seed=0)) < 0.001
    assert known(paired_p((first, words), (second, words), voice, seed=0, at_least=-0.2)) > 0.999
    assert paired_p((first, words), (second, words), ["one"] * 100, seed=0) is None


def test_holm_corrects_for_every_look() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([]) == []


def test_swapping_sides_passes_no_more_luck_than_stated_even_with_eight_clusters() -> None:
    rng, clusters, passed = np.random.default_rng(5), np.repeat(np.arange(8), 20), 0
    for seed in range(400):
        hard = np.repeat(rng.gamma(2.0, 0.1, 8), 20)
        first, other = (
            rng.poisson(hard * np.repeat(rng.gamma(4, 0.25, 8), 20) * 10) for _ in range(2)
        )
        passed += (
            swapped_p(
                (first, np.full(160, 10)), (other, np.full(160, 10)), clusters, seed=seed, draws=400
            )
            <= 0.025
        )
    assert passed <= 400 * 0.025 + 3 * (400 * 0.025) ** 0.5


def test_swapping_sides_finds_a_difference_and_knows_its_side() -> None:
    rng, clusters = np.random.default_rng(6), np.repeat(np.arange(30), 10)
    less, more = rng.poisson(2.0, 300), rng.poisson(4.0, 300)
    words = np.full(300, 10)
    assert swapped_p((more, words), (less, words), clusters, seed=1) < 0.001
    assert swapped_p((less, words), (more, words), clusters, seed=1) > 0.99
    assert swapped_p((less, words), (less, words), clusters, seed=1) == 1.0
