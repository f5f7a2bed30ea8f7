"""Gate check: neither candidate nor reference learned from what both are examined on."""

from evaluation.gates import examples
from evaluation.gates.evidence import Check, Evidence

NAME = "unseen"
PROMISE = "Nobody is examined on what it learned: no call, voice or customer of the test set."


def applies(kind: str) -> bool:
    """Returns True: every kind of model is checked."""
    return True


def check(evidence: Evidence) -> Check:
    """Asks that no test unit is known to a model, and tells what was left out for that."""
    seen, total = evidence.facts.seen_units, evidence.candidate.units.height
    if seen is None or seen.get("candidate") is None:
        return Check(
            NAME,
            "no_evidence",
            "The candidate does not say what it learned from. Train it again.",
        )
    for role, count in seen.items():
        if count:
            return Check(
                NAME,
                "fail",
                f"The {role} learned from calls, voices or customers of {count} of the {total} "
                "test units. Evaluate again: the evaluation leaves them out.",
                estimate=count / total,
                threshold=0.0,
            )
    sentences = [f"Neither model learned from any of the {total} test units."]
    if None in seen.values():
        sentences = [
            f"The candidate learned from none of the {total} test units. The reference does not "
            "say what it learned from. If it knows some of them, that favours the reference."
        ]
    left_out = evidence.facts.left_out or {}
    if left_out.get("units"):
        known = ", ".join(f"{role} {count}" for role, count in left_out["by_role"].items())
        sentences.append(
            f"{left_out['units']} of {left_out['of']} ({left_out['share']:.1%}) were left out, "
            f"since a model had learned from them ({known})."
        )
    return Check(NAME, "pass", " ".join(sentences), estimate=0.0, threshold=0.0)


_LEFT_OUT = {"units": 12, "of": 120, "share": 0.1, "by_role": {"candidate": 0, "reference": 12}}

ACCEPTS = (
    examples.evidence,
    lambda: examples.evidence(candidate=examples.churn(0.2)),
    lambda: examples.evidence(facts={"left_out": _LEFT_OUT}),
    # A champion from before versions said what they learned from.
    lambda: examples.evidence(facts={"seen_units": {"candidate": 0, "reference": None}}),
)
REFUSES = (
    lambda: examples.evidence(facts={"seen_units": None}),
    lambda: examples.evidence(facts={"seen_units": {"candidate": None, "reference": 0}}),
    lambda: examples.evidence(facts={"seen_units": {"candidate": 0, "reference": 3}}),
    lambda: examples.evidence(facts={"seen_units": {"candidate": 1, "reference": 0}}),
)
