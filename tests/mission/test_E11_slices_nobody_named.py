"""E11: a loss hidden in an intersection of slices that nobody named is found, and none is made up."""

from dataclasses import replace

import numpy as np

from benchmarks.bench_intersections import PLANTED, refused, scorecards
from evaluation.gates import examples
from evaluation.gates.checks import slices
from evaluation.gates.params import AsrGate
from evaluation.intersections import search_intersections
from evaluation.slices import slice_gains


def test_E11_finds_a_planted_intersection_in_four_of_five_test_sets() -> None:
    """12 % of the utterances, with a quarter of the words wrong before and 35 % now."""
    found = [refused(seed, worse=0.1, utterances=2000) for seed in range(20)]
    assert np.mean([PLANTED in names for names in found]) >= 0.8


def test_E11_refuses_equal_models_in_at_most_one_of_twenty() -> None:
    """100 to 200 nulls are in benchmarks/bench_intersections.py."""
    noise = [refused(seed, utterances=800) for seed in range(1000, 1030)]
    assert sum(map(bool, noise)) <= 2


def test_E11_tests_on_clusters_that_did_not_choose() -> None:
    candidate, reference = scorecards(5, worse=0.1, utterances=1500)
    search = search_intersections(candidate, reference, "wer", seed=5)
    (found,) = [row for row in search.tested if row.what == PLANTED][:1]
    both = candidate.units.filter(region="north", load="peak")
    assert found.gain.units < both.height * 0.65, "half of its units chose it"
    assert search.searched > 100
    assert len(search.tested) <= 4


def test_E11_a_confirmed_intersection_fails_the_slices_check_which_names_it() -> None:
    candidate, reference = scorecards(5, worse=0.12, utterances=2000)
    # Better everywhere else, so that no named slice is worse.
    errors = candidate.units["errors"].to_numpy().copy()
    elsewhere = ~(
        (candidate.units["region"] == "north") & (candidate.units["load"] == "peak")
    ).to_numpy()
    errors[elsewhere] = np.maximum(errors[elsewhere] - 1, 0)
    candidate = replace(candidate, units=candidate.units.with_columns(errors=errors))
    named = slice_gains(candidate, reference, "wer", seed=0)
    assert all(row.p is None or row.p > 0.05 for row in named)
    evidence = replace(
        examples.evidence(), candidate=candidate, reference=reference, params=AsrGate()
    )
    check = slices.check(evidence)
    assert check.verdict == "fail", check.sentence
    assert PLANTED in check.sentence
    assert PLANTED in [row.what for row in check.measurements if row.verdict == "fail"]
