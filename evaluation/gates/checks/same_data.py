"""Gate check: candidate and reference were scored on the same test data."""

from dataclasses import replace

from evaluation.gates import examples
from evaluation.gates.evidence import Check, Evidence
from evaluation.scorecard import ScorecardError, pair

NAME = "same_data"
PROMISE = "Candidate and reference were scored on the same test data, unit by unit."


def applies(kind: str) -> bool:
    """Returns True: every kind of model is checked."""
    return True


def check(evidence: Evidence) -> Check:
    """Compares the data hashes, then the test units themselves."""
    candidate, reference = evidence.candidate, evidence.reference
    if reference is None:
        return Check(
            NAME,
            "no_evidence",
            "There is no reference scorecard. Score the champion, or the base, as well.",
        )
    if not candidate.data_hash or not reference.data_hash:
        return Check(
            NAME, "no_evidence", "A scorecard does not say which data it is on. Evaluate it again."
        )
    if candidate.data_hash != reference.data_hash:
        return Check(
            NAME,
            "fail",
            f"The candidate was scored on data {candidate.data_hash}, the reference on "
            f"{reference.data_hash}.",
        )
    try:
        units = pair(candidate, reference, evidence.params.metric).height
    except ScorecardError as error:
        return Check(NAME, "fail", str(error))
    return Check(
        NAME,
        "pass",
        f"Both were scored on the same {units} test units of data {candidate.data_hash}.",
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
