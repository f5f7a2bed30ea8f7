"""Gate check: the files that were scored are the files that would be released."""

from evaluation.gates import examples
from evaluation.gates.evidence import Check, Evidence

NAME = "same_bundle"
PROMISE = "The bundle verifies, and it is the very one the scorecard is about."


def applies(kind: str) -> bool:
    """Returns True: every kind of model is checked."""
    return True


def check(evidence: Evidence) -> Check:
    """Compares the scorecard's checksum with that of the bundle as it is now."""
    scored, present = evidence.candidate.bundle_sha256, evidence.facts.bundle_sha256
    if evidence.facts.bundle_says:
        return Check(NAME, "fail", f"The bundle does not verify. {evidence.facts.bundle_says}")
    if not scored or not present:
        return Check(
            NAME,
            "no_evidence",
            "Nobody verified the bundle, or the scorecard does not say which it is about.",
        )
    if scored != present:
        return Check(
            NAME,
            "fail",
            f"Scored was bundle {scored[:12]}, there lies {present[:12]}. Evaluate it again.",
        )
    return Check(NAME, "pass", f"Bundle {present[:12]} verifies and is the one that was scored.")


ACCEPTS = (examples.evidence, lambda: examples.evidence(candidate=examples.churn(0.2)))
REFUSES = (
    lambda: examples.evidence(facts={"bundle_sha256": "f" * 64}),
    lambda: examples.evidence(facts={"bundle_sha256": None}),
    lambda: examples.evidence(
        facts={"bundle_sha256": None, "bundle_says": "weights.safetensors has changed."}
    ),
)
