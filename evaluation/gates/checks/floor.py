"""No model serves that is worse than an absolute limit, whatever it is better than."""

from evaluation.gates import examples
from evaluation.gates.evidence import Check, Evidence

NAME = "floor"
PROMISE = (
    "The candidate is good enough in itself: its worst likely value stays within absolute limits."
)


def applies(kind: str) -> bool:
    """For every kind of model."""
    return True


def check(evidence: Evidence) -> Check:
    """Holds the worst end of each metric's interval against its floor; reports the metric closest to it."""
    answers: list[tuple[float, Check]] = []
    for metric, limit in sorted(evidence.params.floors.items()):
        found = evidence.candidate.metrics.get(metric)
        if found is None or found.worst is None:
            return Check(
                NAME,
                "no_evidence",
                f"{metric} has no interval on this test set.",
                metric,
                found.value if found else None,
                threshold=limit,
            )
        room = limit - found.worst if found.lower_is_better else found.worst - limit
        said = (
            f"{metric} is {found.value:.4f} and at worst {found.worst:.4f}; the floor is "
            f"{'at most' if found.lower_is_better else 'at least'} {limit:g}."
        )
        answer = Check(
            NAME,
            "pass" if room >= 0 else "fail",
            said,
            metric,
            found.value,
            found.low,
            found.high,
            limit,
        )
        answers.append((room, answer))
    return min(answers, key=lambda pair: pair[0])[1]


ACCEPTS = (
    examples.evidence,
    lambda: examples.evidence(candidate=examples.churn(0.2)),
)
REFUSES = (
    lambda: examples.evidence(candidate=examples.churn(8.0)),
    lambda: examples.evidence(candidate=examples.asr(0.7)),
    lambda: examples.evidence(candidate=examples.asr(0.49)),  # within the limit, but not surely
    lambda: examples.evidence(floors={"wer": 0.5, "latency": 1.0}),
    lambda: examples.evidence(candidate=examples.asr(0.05, voices=1)),
)
