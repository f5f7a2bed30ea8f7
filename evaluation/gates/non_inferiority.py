"""Non-inferiority tests, shared by checks that let a candidate lose less than a margin.

The burden of proof is the candidate's: the whole interval of its paired gain has to lie above minus
the margin. Where several are tested each has to pass, so testing many makes acceptance no easier
and no correction for their number is needed.
"""

from __future__ import annotations

from collections.abc import Sequence

from evaluation.gates.evidence import Check, Measurement, Verdict
from evaluation.scorecard import Scorecard, gain


def non_inferiority(
    candidate: Scorecard,
    reference: Scorecard,
    metric: str,
    *,
    margin: float,
    seed: int,
    level: float,
    what: str = "",
) -> Measurement:
    """Measures the candidate's gain in `metric`; passes if its interval lies above -`margin`.

    `margin` is in units of the metric, `level` is that of the two-sided interval, `what` names the
    measurement (the metric by default). Raises ScorecardError as `gain` does.
    """
    gained = gain(candidate, reference, metric, seed=seed, level=level)
    if gained.low is None or gained.high is None:
        return Measurement(
            what or metric, "no_evidence", gained.value, threshold=-margin, clusters=gained.clusters
        )
    passed = gained.low > -margin
    return Measurement(
        what or metric,
        "pass" if passed else "fail",
        gained.value,
        gained.low,
        gained.high,
        -margin,
        clusters=gained.clusters,
    )


def describe(measurement: Measurement, level: float) -> str:
    """Returns a measurement in words: what was measured, gain, interval and limit."""
    if measurement.low is None or measurement.high is None:
        return (
            f"{measurement.what}: {measurement.estimate:+.4f} from too few voices or customers "
            "for an interval"
        )
    return (
        f"{measurement.what}: gain {measurement.estimate:+.4f} ({level:.0%} interval "
        f"{measurement.low:+.4f} to {measurement.high:+.4f}), has to be surely above "
        f"{measurement.threshold:+g}"
    )


def all_non_inferior(
    name: str, measurements: Sequence[Measurement], level: float, *, remark: str = ""
) -> Check:
    """Combines measurements that all have to pass into one check.

    It has the worst verdict, and the figures of the measurement closest to (or furthest beyond) its
    limit. `remark` is put before the sentence.
    """
    order: tuple[Verdict, ...] = ("fail", "no_evidence", "pass")
    verdict = next(verdict for verdict in order if any(m.verdict == verdict for m in measurements))
    deciding = [m for m in measurements if m.verdict == verdict]
    worst = min(
        deciding, key=lambda m: (m.low if m.low is not None else 0.0) - (m.threshold or 0.0)
    )
    sentence = "; ".join(describe(m, level) for m in (deciding if verdict != "pass" else [worst]))
    sentence = f"{sentence[:1].upper()}{sentence[1:]}."
    if verdict == "pass" and len(measurements) > 1:
        sentence = f"All {len(measurements)} hold; least room: {describe(worst, level)}."
    return Check.of_worst(
        name,
        verdict,
        f"{remark} {sentence}".strip(),
        worst=worst,
        measurements=measurements,
    )
