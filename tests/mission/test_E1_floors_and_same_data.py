"""E1: a first model has to be good in itself, and is compared with the champion on the same data only."""

import pytest

from evaluation.gates import examples
from evaluation.gates.evidence import NOT_REFUSING
from evaluation.gates.record import Decision
from evaluation.scorecard import Scorecard
from tests.registry_helpers import gate_decision
from tests.typing_helpers import known


def _verdicts(decision: Decision) -> dict[str, str]:
    return {check.name: check.verdict for check in decision.checks}


@pytest.mark.parametrize(
    ("candidate", "reference"),
    [(examples.asr(0.7), examples.asr(0.95)), (examples.churn(4.0), examples.churn(20.0))],
    ids=["asr", "churn"],
)
def test_E1_refuses_a_bad_first_model_however_much_better_than_its_base(
    candidate: Scorecard, reference: Scorecard
) -> None:
    decision = gate_decision(examples.evidence(candidate, reference))
    assert not decision.accepted
    failed = {name for name, verdict in _verdicts(decision).items() if verdict not in NOT_REFUSING}
    # Who mishears most words mishears the critical ones. What a churn model thinks certain and is
    # not so is miscalibrated as well, and a simpler model is better.
    assert failed - {"critical_words", "calibration", "simple_models"} == {"floor"}
    (floor,) = [check for check in decision.checks if check.name == "floor"]
    at_worst = known(floor.low) if candidate.kind == "churn" else -known(floor.high)
    limit = known(floor.threshold) * (1 if candidate.kind == "churn" else -1)
    assert at_worst < limit


@pytest.mark.parametrize(
    "candidate", [examples.asr(0.1), examples.churn(0.2)], ids=["asr", "churn"]
)
def test_E1_accepts_a_good_first_model(candidate: Scorecard) -> None:
    decision = gate_decision(examples.evidence(candidate))
    assert decision.accepted, decision.record["summary"]


def test_E1_refuses_a_candidate_scored_on_other_data_than_the_champion() -> None:
    evidence = examples.evidence(
        examples.asr(0.1, data_hash="d2"), facts={"reference_is_champion": True}
    )
    decision = gate_decision(evidence)
    assert not decision.accepted
    (check,) = [check for check in decision.checks if check.name == "same_data"]
    assert check.verdict == "fail"
    assert "d2" in check.sentence
    assert "d1" in check.sentence


def test_E1_refuses_a_candidate_without_anything_to_compare_it_with() -> None:
    verdicts = _verdicts(gate_decision(examples.evidence(reference=None)))
    assert (verdicts["same_data"], verdicts["better"]) == ("no_evidence", "no_evidence")
