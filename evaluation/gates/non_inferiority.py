"""Shared by checks that let a candidate lose a little: the loss is smaller than a margin, or it is not allowed.

The burden of proof is the candidate's (a non-inferiority test): the whole interval of its paired gain has to lie above
minus the margin. Where several are held, each has to pass, so no correction for many looks is needed.
"""

from __future__ import annotations

from collections.abc import Sequence

from evaluation.gates.evidence import Check, Measurement, Verdict
from evaluation.scorecard import Scorecard, gain


def non_inferiority(
    candidate: Scorecard,
    reference: Scorecard,
    metric: str,
    margin: float,
    seed: int,
    level: float,
    what: str = "",
) -> Measurement:
    """Whether `candidate` loses less than `margin` in `metric`, surely. Raises ScorecardError as `gain` does."""
    found = gain(candidate, reference, metric, seed, level)
    if found.low is None or found.high is None:
        return Measurement(
            what or metric, "no_evidence", found.value, threshold=-margin, clusters=found.clusters
        )
    passed = found.low > -margin
    return Measurement(
        what or metric,
        "pass" if passed else "fail",
        found.value,
        found.low,
        found.high,
        -margin,
        clusters=found.clusters,
    )


def describe(look: Measurement, level: float) -> str:
    """One look as words: what, gain, interval, limit."""
    if look.low is None or look.high is None:
        return f"{look.what}: {look.estimate:+.4f} from too few voices or customers for an interval"
    return (
        f"{look.what}: gain {look.estimate:+.4f} ({level:.0%} interval {look.low:+.4f} to {look.high:+.4f}), "
        f"has to be surely above {look.threshold:+g}"
    )


def together(name: str, looks: Sequence[Measurement], level: float, said: str = "") -> Check:
    """One answer out of several looks that all have to pass: the worst verdict, and the look with the least room."""
    order: tuple[Verdict, ...] = ("fail", "no_evidence", "pass")
    verdict = next(verdict for verdict in order if any(look.verdict == verdict for look in looks))
    mine = [look for look in looks if look.verdict == verdict]
    worst = min(
        mine, key=lambda look: (look.low if look.low is not None else 0.0) - (look.threshold or 0.0)
    )
    sentence = "; ".join(describe(look, level) for look in (mine if verdict != "pass" else [worst]))
    sentence = f"{sentence[:1].upper()}{sentence[1:]}."
    if verdict == "pass" and len(looks) > 1:
        sentence = f"All {len(looks)} hold; least room: {describe(worst, level)}."
    return Check(
        name,
        verdict,
        f"{said} {sentence}".strip(),
        worst.what,
        worst.estimate,
        worst.low,
        worst.high,
        worst.threshold,
        tuple(looks),
    )
