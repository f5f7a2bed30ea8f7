"""Gate check: no model is promoted that is worse than an absolute limit."""

from evaluation.gates import examples
from evaluation.gates.evidence import Check, Evidence

NAME = "floor"
PROMISE = (
    "The candidate is good enough in itself: its worst likely value stays within absolute limits."
)


def applies(kind: str) -> bool:
    """Returns True: every kind of model is checked."""
    return True


def check(evidence: Evidence) -> Check:
    """Compares the worst end of each metric's interval with its floor; returns the closest one."""
    results: list[tuple[float, Check]] = []
    for metric, limit in sorted(evidence.params.floors.items()):
        estimate = evidence.candidate.metrics.get(metric)
        if estimate is None or estimate.worst is None:
            return Check(
                NAME,
                "no_evidence",
                f"{metric} has no interval on this test set.",
                metric,
                estimate.value if estimate else None,
                threshold=limit,
            )
        lower_is_better = estimate.lower_is_better
        room = limit - estimate.worst if lower_is_better else estimate.worst - limit
        result = Check(
            NAME,
            "pass" if room >= 0 else "fail",
            f"{metric} is {estimate.value:.4f} and at worst {estimate.worst:.4f}; the floor is "
            f"{'at most' if lower_is_better else 'at least'} {limit:g}.",
            metric,
            estimate.value,
            estimate.low,
            estimate.high,
            limit,
        )
        results.append((room, result))
    return min(results, key=lambda pair: pair[0])[1]


ACCEPTS = (
    examples.evidence,
    lambda: examples.evidence(candidate=examples.churn(0.2)),
)
REFUSES = (
    lambda: examples.evidence(candidate=examples.churn(8.0)),
    # A Brier score under 0.25, and no better than knowing nobody.
    lambda: examples.evidence(candidate=examples.churn(1.8)),
    lambda: examples.evidence(candidate=examples.asr(0.7)),
    lambda: examples.evidence(candidate=examples.asr(0.49)),  # within the limit, but not surely
    lambda: examples.evidence(floors={"wer": 0.5, "latency": 1.0}),
    lambda: examples.evidence(candidate=examples.asr(0.05, voices=1)),
)
