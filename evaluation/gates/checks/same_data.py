"""Candidate and reference were scored on the same test data."""

from dataclasses import replace

from evaluation.gates import examples
from evaluation.gates.evidence import Check, Evidence
from evaluation.scorecard import ScorecardError, pair

NAME = "same_data"
PROMISE = "Candidate and reference were scored on the same test data, unit by unit."


def applies(kind: str) -> bool:
    """For every kind of model."""
    return True


def check(evidence: Evidence) -> Check:
    """Compares the data hashes, then the test units themselves."""
    ours, theirs = evidence.candidate, evidence.reference
    if theirs is None:
        return Check(
            NAME,
            "no_evidence",
            "There is no reference scorecard. Score the champion, or the base, as well.",
        )
    if not ours.data_hash or not theirs.data_hash:
        return Check(
            NAME, "no_evidence", "A scorecard does not say which data it is on. Evaluate it again."
        )
    if ours.data_hash != theirs.data_hash:
        return Check(
            NAME,
            "fail",
            f"The candidate was scored on data {ours.data_hash}, the reference on {theirs.data_hash}.",
        )
    try:
        units = pair(ours, theirs, evidence.params.metric).height
    except ScorecardError as error:
        return Check(NAME, "fail", str(error))
    return Check(
        NAME, "pass", f"Both were scored on the same {units} test units of data {ours.data_hash}."
    )


ACCEPTS = (
    examples.evidence,
    lambda: examples.evidence(candidate=examples.churn(0.2)),
)
REFUSES = (
    lambda: examples.evidence(reference=None),
    lambda: examples.evidence(candidate=examples.asr(0.1, data_hash="other")),
    lambda: examples.evidence(
        candidate=examples.asr(0.1, data_hash=""), reference=examples.asr(0.3, data_hash="")
    ),
    lambda: examples.evidence(candidate=examples.asr(0.1, voices=11)),
    lambda: examples.evidence(candidate=replace(examples.asr(0.1), ratios={})),
)
