"""Gate check: the data behind the model kept its contract."""

from evaluation.gates import examples
from evaluation.gates.evidence import Check, Evidence

NAME = "data_contract"
PROMISE = "The data behind training and test kept its contract."


def applies(kind: str) -> bool:
    """Returns True: every kind of model is checked."""
    return True


def check(evidence: Evidence) -> Check:
    """Returns the result of validation; no evidence where the data was not validated."""
    facts = evidence.facts
    if facts.contract_ok is None:
        return Check(NAME, "no_evidence", "Nobody has validated the data. Run the validate step.")
    if not facts.contract_ok:
        return Check(
            NAME,
            "fail",
            f"The data broke its contract: {facts.contract_says or 'see validate.json'}.",
        )
    return Check(
        NAME,
        "pass",
        f"The data kept its contract{f': {facts.contract_says}' if facts.contract_says else ''}.",
    )


ACCEPTS = (examples.evidence,)
REFUSES = (
    lambda: examples.evidence(facts={"contract_ok": None}),
    lambda: examples.evidence(
        facts={"contract_ok": False, "contract_says": "9 contacts without a customer"}
    ),
)
