"""A better recogniser may not hurt what reads its text."""

from evaluation.gates import examples
from evaluation.gates.evidence import Check, Evidence
from evaluation.gates.noworse import no_worse, together

NAME = "downstream"
PROMISE = "What reads the text (labels, frictions, churn risk) reads it no worse than the reference's text."


def applies(kind: str) -> bool:
    """For recognisers."""
    return kind == "asr"


def check(evidence: Evidence) -> Check:
    """Wrong labels, wrong friction flags and the churn model's Brier score: each loss surely below its limit."""
    params, reading = evidence.asr, evidence.beside.get("reading")
    if reading is None:
        return Check(NAME, "no_evidence", "Nobody let the rules read the text of both recognisers.")
    if evidence.facts.churn_in_office is None:
        return Check(NAME, "no_evidence", "Nobody looked whether a churn model reads this text.")
    limits = {"reading_errors": params.max_reading_loss, "friction_errors": params.max_friction_loss}
    pairs = [(reading, name, limit) for name, limit in limits.items() if name in reading.candidate.metrics]
    said = "No churn model is in office yet, so only labels were read."
    if evidence.facts.churn_in_office:
        churn = evidence.beside.get("churn_on_text")
        if churn is None:
            return Check(NAME, "no_evidence", "Nobody let the churn model in office score the text of both.")
        pairs.append((churn, "brier", params.max_brier_loss))
        said = ""
    looks = [
        no_worse(two.candidate, two.reference, name, limit, evidence.seed, params.level,
                 "Brier score of churn" if name == "brier" else name.replace("_", " "))
        for two, name, limit in pairs
    ]  # fmt: skip
    return together(NAME, looks, params.level, said) if looks else Check(NAME, "no_evidence", "No label was read.")


ACCEPTS = (
    examples.evidence,
    lambda: examples.evidence(facts={"churn_in_office": False}, churn_on_text=None),
)
REFUSES = (
    # Fewer word errors, and the words that tell of friction among them.
    lambda: examples.evidence(reading=(0.3, 0.1)),
    lambda: examples.evidence(churn_on_text=(2.0, 0.2)),
    lambda: examples.evidence(reading=None),
    lambda: examples.evidence(churn_on_text=None),
    lambda: examples.evidence(facts={"churn_in_office": None}),
)
