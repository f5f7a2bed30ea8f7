"""Gate check: a churn model predicts better than a logistic regression on the same features."""

from __future__ import annotations

from evaluation.gates import examples
from evaluation.gates.evidence import Check, Evidence, Verdict
from models.kinds import kind_of

NAME = "simple_models"
PROMISE = (
    "On held-out customers the candidate has a better Brier score than a logistic regression. Where "
    "the difference is within sampling error it is unproven."
)
METRIC = "gain_over_logistic"


def applies(kind: str) -> bool:
    """Returns whether the kind names this check."""
    return NAME in kind_of(kind).checks


def check(evidence: Evidence) -> Check:
    """Requires a gain over the logistic regression; it is proven if its whole interval is above 0.

    The life table is the floor's business (scaled_brier).
    """
    gained = evidence.candidate.metrics.get(METRIC)
    if gained is None:
        return Check(
            NAME,
            "no_evidence",
            "Nobody scored a logistic regression on the same customers. Evaluate again.",
            METRIC,
        )
    verdict: Verdict = "fail" if gained.value <= 0 else "unproven"
    if gained.low is not None and gained.low > 0:
        verdict = "pass"
    interval = (
        f" (95 % {gained.low:+.4f} to {gained.high:+.4f})"
        if gained.low is not None and gained.high is not None
        else ", without an interval"
    )
    found = {
        "pass": "it is better beyond sampling error",
        "unproven": "that it is better is not proven",
        "fail": "it is no better; a simpler model would do",
    }
    return Check(
        NAME,
        verdict,
        f"Gain in Brier score over a logistic regression: {gained.value:+.4f}{interval}; "
        f"{found[verdict]}.",
        METRIC,
        gained.value,
        gained.low,
        gained.high,
        0.0,
        unproven=("better than a logistic regression",) if verdict == "unproven" else (),
    )


ACCEPTS = (lambda: examples.evidence(candidate=examples.churn(0.2)),)
REFUSES = (
    # Noisier than the logistic regression of the examples.
    lambda: examples.evidence(candidate=examples.churn(2.5), reference=examples.churn(6.0)),
    lambda: examples.evidence(
        candidate=examples.without_metrics(examples.churn(0.2), "gain_over_logistic")
    ),
)
