"""Gate check: the model has a card, and a licence that is allowed."""

from evaluation.gates import examples
from evaluation.gates.evidence import Check, Evidence

NAME = "card_and_licence"
PROMISE = "The model has a card that says what it is for, and a licence that is allowed."


def applies(kind: str) -> bool:
    """Returns True: every kind of model is checked."""
    return True


def check(evidence: Evidence) -> Check:
    """Requires a card that is not empty and a licence, one of `licences` where those are named."""
    facts, allowed = evidence.facts, evidence.params.licences
    if not (facts.card or "").strip():
        return Check(
            NAME, "no_evidence", "There is no model card. Write a card.md into the bundle."
        )
    if not (facts.licence or "").strip():
        return Check(NAME, "no_evidence", "The bundle names no licence. Name one when writing it.")
    if allowed and facts.licence not in allowed:
        return Check(NAME, "fail", f"Licence {facts.licence} is not one of {', '.join(allowed)}.")
    return Check(NAME, "pass", f"The model has a card and is under {facts.licence}.")


ACCEPTS = (examples.evidence, lambda: examples.evidence(licences=("MIT", "Apache-2.0")))
REFUSES = (
    lambda: examples.evidence(facts={"card": " \n"}),
    lambda: examples.evidence(facts={"card": None}),
    lambda: examples.evidence(facts={"licence": None}),
    lambda: examples.evidence(licences=("MIT",)),
)
