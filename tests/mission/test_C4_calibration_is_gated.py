"""C4: a candidate whose risks do not mean what they say is refused, on the whole or in one slice."""

from typing import Any

from evaluation.gates import examples
from evaluation.gates.evidence import Check
from evaluation.gates.record import Decision
from tests.registry_helpers import gate_decision


def _calibration(decision: Decision) -> Check:
    (check,) = [check for check in decision.checks if check.name == "calibration"]
    return check


def test_C4_refuses_a_candidate_that_ranks_well_and_is_too_sure_of_itself() -> None:
    decision = gate_decision(
        examples.evidence(examples.churn(0.1, overconfidence=2.5), examples.churn(6.0))
    )
    check = _calibration(decision)
    assert check.verdict == "fail"
    assert "slope" in check.sentence
    assert not decision.accepted


def test_C4_refuses_risks_that_are_all_too_high() -> None:
    check = _calibration(
        gate_decision(examples.evidence(examples.churn(0.1, shift=1.0), examples.churn(6.0)))
    )
    assert check.verdict == "fail"
    assert "left over expected" in check.sentence


def test_C4_refuses_a_candidate_miscalibrated_in_one_slice_only() -> None:
    candidate = examples.churn(0.1, customers=1200, hidden=("north", 5.0))
    reference = examples.churn(6.0, customers=1200)
    wide: dict[str, Any] = {
        "calibration_slope": [0, 9],
        "calibration_ratio": [0, 9],
        "relaxation_reason": "to look at slices alone",
    }
    check = _calibration(gate_decision(examples.evidence(candidate, reference, **wide)))
    assert check.verdict == "fail"
    assert "in region north" in check.sentence
    assert "in region south" not in check.sentence


def test_C4_accepts_calibrated_risks_and_shows_every_figure() -> None:
    check = _calibration(gate_decision(examples.evidence(examples.churn(0.1))))
    assert check.verdict == "unproven", check.sentence
    assert (
        len(
            [
                measurement
                for measurement in check.measurements
                if "slope" in measurement.what or "over expected" in measurement.what
            ]
        )
        == 4
    )
    assert [
        measurement
        for measurement in check.measurements
        if "gap at 180 in region south" in measurement.what
    ]
