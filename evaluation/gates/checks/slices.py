"""Gate check: the candidate is not significantly worse in any slice of the test set."""

from collections.abc import Sequence
from functools import partial

from evaluation.gates import examples
from evaluation.gates.evidence import Check, Evidence, Measurement, Verdict
from evaluation.slices import SliceGain, slice_gains

NAME = "slices"
PROMISE = (
    "The candidate is not significantly worse in any slice of the test set that is large enough to "
    "be tested, with a correction for the number of slices."
)


def applies(kind: str) -> bool:
    """Returns True: every kind of model is checked."""
    return True


def check(evidence: Evidence) -> Check:
    """Tests each slice for a loss beyond `max_slice_loss`, at `slice_alpha` for all of them (Holm).

    A slice with fewer than `min_slice_clusters` voices or customers is listed and not tested.
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
    measurements = [
        _measurement(slice_gain, -params.max_slice_loss, params.slice_alpha) for slice_gain in gains
    ]
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
    failed = any(measurement.verdict == "fail" for measurement in tested)
    return Check.of_worst(
        NAME,
        "fail" if failed else "pass",
        _sentence(evidence, tested, untested=len(measurements) - len(tested)),
        worst=tested[0],
        measurements=measurements,
        metric=params.metric,
    )


def _measurement(slice_gain: SliceGain, threshold: float, alpha: float) -> Measurement:
    verdict: Verdict = (
        "no_evidence" if slice_gain.p is None else "fail" if slice_gain.p <= alpha else "pass"
    )
    gain = slice_gain.gain
    return Measurement(
        f"{slice_gain.by} {slice_gain.value}",
        verdict,
        gain.value,
        gain.low,
        gain.high,
        threshold,
        slice_gain.p,
        gain.clusters,
    )


def _sentence(evidence: Evidence, tested: Sequence[Measurement], untested: int) -> str:
    """Returns how many slices were tested, which are worse, and how many were too small."""
    params, worst = evidence.params, tested[0]
    failed = [measurement.what for measurement in tested if measurement.verdict == "fail"]
    sentence = (
        f"Significantly worse in {', '.join(failed) or 'none'} of {len(tested)} slices "
        f"(one-sided, Holm, at most {params.slice_alpha:g} for all); "
        f"closest to it is {worst.what}: {worst.estimate:+.4f} {params.metric}, p {worst.p:.3g}."
    )
    if untested:
        sentence += (
            f" {untested} more are too small to test (under {params.min_slice_clusters} clusters)."
        )
    return sentence


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
)
