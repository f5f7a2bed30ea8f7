"""Gate check: the candidate is not worse in a slice of the test set, or in an intersection of slices."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from evaluation.gates import examples
from evaluation.gates.evidence import Check, Evidence, Measurement, Verdict
from evaluation.gates.params import KindGate
from evaluation.intersections import IntersectionGain, Search, search_intersections
from evaluation.scorecard import Scorecard
from evaluation.slices import SliceGain, slice_gains
from models.kinds import kind_of

NAME = "slices"
PROMISE = (
    "The candidate is not shown to be worse in any slice of the test set, or in an intersection of "
    "slices that a search found. A slice in which a loss could not be ruled out is unproven."
)


def applies(kind: str) -> bool:
    """Returns True: every kind of model is checked."""
    return True


def check(evidence: Evidence) -> Check:
    """Tests each slice for a loss beyond `max_slice_loss`, at `slice_alpha` for all of them (Holm).

    A slice is held where its interval rules out a loss of `slice_margin`. One that is neither worse
    nor held is unproven, and so is one with fewer than `min_slice_clusters` voices or customers.
    Intersections of slices are searched on one half of the clusters and tested on the other, at
    `intersection_alpha` for all of them; one that is worse refuses like a slice.
    """
    params = evidence.params
    if evidence.reference is None:
        return Check(NAME, "no_evidence", "There is no reference to compare slices with.")
    gains = slice_gains(
        evidence.candidate,
        evidence.reference,
        params.metric,
        seed=evidence.seed,
        level=params.level,
        allowed=params.max_slice_loss,
        min_clusters=params.min_slice_clusters,
    )
    measurements = [_measurement(slice_gain, params) for slice_gain in gains]
    tested = [measurement for measurement in measurements if measurement.p is not None]
    if not tested:
        return Check(
            NAME,
            "no_evidence",
            f"None of {len(measurements)} slices has {params.min_slice_clusters} voices or "
            "customers.",
            params.metric,
            measurements=tuple(measurements),
        )
    search = _search(evidence.candidate, evidence.reference, evidence)
    worse = [_found(row, params) for row in search.tested if row.p <= params.intersection_alpha]
    failed = [row for row in tested if row.verdict == "fail"] + worse
    unproven = [row for row in measurements if row.verdict == "unproven"]
    return Check.of_worst(
        NAME,
        "fail" if failed else "unproven" if unproven else "pass",
        " ".join(
            [
                _slices_in_words(tested, unproven, params),
                _search_in_words(search, worse, params),
            ]
        ),
        worst=(failed or tested)[0],
        measurements=[*measurements, *worse],
        metric=params.metric,
        unproven=_unproven_in_words(evidence, measurements, unproven),
    )


def _search(candidate: Scorecard, reference: Scorecard, evidence: Evidence) -> Search:
    params = evidence.params
    return search_intersections(
        candidate,
        reference,
        params.metric,
        seed=evidence.seed,
        allowed=params.max_slice_loss,
        min_clusters=params.min_slice_clusters,
        level=params.level,
    )


def _measurement(slice_gain: SliceGain, params: KindGate) -> Measurement:
    gain = slice_gain.gain
    return Measurement(
        f"{slice_gain.by} {slice_gain.value}",
        _verdict(slice_gain, params),
        gain.value,
        gain.low,
        gain.high,
        -params.max_slice_loss,
        slice_gain.p,
        gain.clusters,
    )


def _verdict(slice_gain: SliceGain, params: KindGate) -> Verdict:
    """Returns fail for a slice shown to be worse, pass for one shown not to lose the margin."""
    if slice_gain.p is None:
        return "unproven"
    if slice_gain.p <= params.slice_alpha:
        return "fail"
    low = slice_gain.gain.low
    return "pass" if low is not None and low > -params.slice_margin else "unproven"


def _found(row: IntersectionGain, params: KindGate) -> Measurement:
    """Returns the measurement of an intersection that is worse, with the figures of the other half."""
    return Measurement(
        row.what,
        "fail",
        row.gain.value,
        row.gain.low,
        row.gain.high,
        -params.max_slice_loss,
        row.p,
        row.gain.clusters,
        "an intersection that one half chose, measured on the other",
    )


def _slices_in_words(
    tested: Sequence[Measurement], unproven: Sequence[Measurement], params: KindGate
) -> str:
    """Returns how many slices were tested, which are worse, and how many are held or unproven."""
    worst = tested[0]
    failed = [measurement.what for measurement in tested if measurement.verdict == "fail"]
    held = sum(measurement.verdict == "pass" for measurement in tested)
    small = sum(measurement.p is None for measurement in unproven)
    wide = len(unproven) - small
    sentence = (
        f"Significantly worse in {', '.join(failed) or 'none'} of {len(tested)} tested slices "
        f"(one-sided, Holm, at most {params.slice_alpha:g} for all); closest to it is {worst.what}: "
        f"{worst.estimate:+.4f} {params.metric}, p {worst.p:.3g}. {held} held: a loss of "
        f"{params.slice_margin:g} is ruled out."
    )
    if unproven:
        parts = [f"{small} with under {params.min_slice_clusters} clusters"] if small else []
        parts += [f"{wide} in which such a loss is not ruled out"] if wide else []
        sentence += f" {len(unproven)} unproven: {', '.join(parts)}."
    return sentence


def _search_in_words(search: Search, worse: Sequence[Measurement], params: KindGate) -> str:
    """Returns how many intersections were searched, and which are worse."""
    if not search.searched:
        return "No intersection of slices is large enough to be searched."
    found = "; ".join(f"{row.what}: {row.estimate:+.4f}, p {row.p:.3g}" for row in worse)
    return (
        f"Of {search.searched} intersections searched, {len(search.tested)} were tested on the other "
        f"half of the clusters (Holm, at most {params.intersection_alpha:g} for all); worse: "
        f"{found or 'none of them'}."
    )


def _unproven_in_words(
    evidence: Evidence, measurements: Sequence[Measurement], unproven: Sequence[Measurement]
) -> list[str]:
    """Returns one phrase for all unproven slices, for the summary; empty without one."""
    if not unproven:
        return []
    single = sum(measurement.clusters == 1 for measurement in unproven)
    plural = kind_of(evidence.candidate.kind).cluster_title
    noun = " or ".join(word.removesuffix("s") for word in plural.split(" or "))
    remark = f" ({single} of a single {noun})" if single else ""
    return [f"{len(unproven)} of {len(measurements)} slices{remark}"]


ACCEPTS = (
    examples.evidence,
    lambda: examples.evidence(candidate=examples.churn(0.2)),
    # Worse by chance in one of two halves: not significant.
    lambda: examples.evidence(candidate=examples.asr(0.3, seed=2)),
)
REFUSES = (
    # Better on the whole, and much worse for agents.
    lambda: examples.evidence(candidate=examples.asr(0.1, hidden=("agent", 0.5))),
    lambda: examples.evidence(candidate=examples.churn(0.2, hidden=("north", 9.0))),
    lambda: examples.evidence(reference=None),
    partial(examples.evidence, min_slice_clusters=1000, relaxation_reason="to see what is left"),
    partial(examples.evidence, required_proof=("slices",)),
)
