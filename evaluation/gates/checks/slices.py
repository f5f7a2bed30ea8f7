"""No group of calls or customers pays for the average."""

from functools import partial

from evaluation.gates import examples
from evaluation.gates.evidence import Check, Evidence, Measurement, Verdict
from evaluation.slices import slice_gains

NAME = "slices"
PROMISE = "The candidate is surely worse in no slice of the test set, with a correction for the number of slices."


def applies(kind: str) -> bool:
    """For every kind of model."""
    return True


def check(evidence: Evidence) -> Check:
    """Tests each slice for a loss beyond `max_slice_loss` at `slice_alpha` over all of them (Holm)."""
    params = evidence.params
    if evidence.reference is None:
        return Check(NAME, "no_evidence", "There is no reference to compare slices with.")
    found = slice_gains(
        evidence.candidate,
        evidence.reference,
        params.metric,
        evidence.seed,
        params.level,
        params.max_slice_loss,
        params.min_slice_clusters,
    )
    looks = []
    for one in found:
        verdict: Verdict = (
            "no_evidence" if one.p is None else "fail" if one.p <= params.slice_alpha else "pass"
        )
        gain = one.gain
        looks.append(
            Measurement(
                f"{one.by} {one.value}",
                verdict,
                gain.value,
                gain.low,
                gain.high,
                -params.max_slice_loss,
                one.p,
                gain.clusters,
            )
        )
    tested = [look for look in looks if look.p is not None]
    if not tested:
        return Check(
            NAME,
            "no_evidence",
            f"None of {len(looks)} slices has {params.min_slice_clusters} voices or customers.",
            params.metric,
            looks=tuple(looks),
        )
    worst, lost = tested[0], [look for look in tested if look.verdict == "fail"]
    small = len(looks) - len(tested)
    said = (
        f"{'Surely worse in ' + ', '.join(look.what for look in lost) if lost else 'Surely worse in none'} of "
        f"{len(tested)} slices (one-sided, Holm, at most {params.slice_alpha:g} for all); "
        f"closest to it is {worst.what}: {worst.estimate:+.4f} {params.metric}, p {worst.p:.3g}."
        + (
            f" {small} more are too small to test (under {params.min_slice_clusters} clusters)."
            if small
            else ""
        )
    )
    return Check(
        NAME,
        "fail" if lost else "pass",
        said,
        params.metric,
        worst.estimate,
        worst.low,
        worst.high,
        worst.threshold,
        tuple(looks),
    )


ACCEPTS = (
    examples.evidence,
    lambda: examples.evidence(candidate=examples.churn(0.2)),
    # Worse by luck in one of two halves: not surely.
    lambda: examples.evidence(candidate=examples.asr(0.3, seed=2)),
)
REFUSES = (
    # Better on the whole, and much worse for agents.
    lambda: examples.evidence(candidate=examples.asr(0.1, hidden=("agent", 0.5))),
    lambda: examples.evidence(candidate=examples.churn(0.2, hidden=("north", 9.0))),
    lambda: examples.evidence(reference=None),
    partial(examples.evidence, min_slice_clusters=1000, loosened="to see what is left"),
)
