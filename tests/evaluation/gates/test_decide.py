"""Every check accepts what it should and refuses what it should; the gate says no without evidence."""

from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from evaluation.gates import examples
from evaluation.gates.decide import check_modules
from evaluation.gates.evidence import Evidence
from evaluation.gates.record import Decision, DecisionError
from evaluation.report.decision import write_decision
from tests.registry_helpers import NOW, gate_decision

CHECKS = {module.NAME: module for module in check_modules()}
ACCEPTED = [(name, n) for name, module in CHECKS.items() for n in range(len(module.ACCEPTS))]
REFUSED = [(name, n) for name, module in CHECKS.items() for n in range(len(module.REFUSES))]


def _decide(evidence: Evidence | None = None, by: str = "nightly", now: datetime = NOW) -> Decision:
    return gate_decision(evidence or examples.evidence(), now=now, by=by)


def test_the_checks_are_found_by_name() -> None:
    assert set(CHECKS) >= {
        "behaviour",
        "better",
        "calibration",
        "card_and_licence",
        "critical_words",
        "data_contract",
        "downstream",
        "enough_evidence",
        "floor",
        "guardrail",
        "long_horizon",
        "same_bundle",
        "same_data",
        "size_and_latency",
        "slices",
    }
    for name, module in CHECKS.items():
        assert module.__name__.endswith(f".{name}")
        assert "\n" not in module.PROMISE
        assert module.ACCEPTS
        assert module.REFUSES


@pytest.mark.parametrize(("name", "n"), ACCEPTED)
def test_a_check_passes_what_it_says_it_accepts(name: str, n: int) -> None:
    answer = CHECKS[name].check(CHECKS[name].ACCEPTS[n]())
    assert answer.verdict in ("pass", "unproven"), answer.sentence
    assert answer.name == name


@pytest.mark.parametrize(("name", "n"), REFUSED)
def test_the_gate_refuses_what_a_check_says_it_refuses_and_names_the_check(
    name: str, n: int
) -> None:
    evidence = CHECKS[name].REFUSES[n]()
    decision = _decide(evidence)
    assert not decision.accepted
    (answer,) = [check for check in decision.checks if check.name == name]
    assert answer.verdict in ("fail", "no_evidence"), answer.sentence
    assert name in decision.record["summary"]


def test_evidence_worth_accepting_is_accepted() -> None:
    decision = _decide()
    assert decision.accepted, decision.record["summary"]
    # Slices of a single voice can prove nothing.
    assert {check.name for check in decision.checks if check.verdict != "pass"} == {"slices"}
    assert (
        "unproven: 12 of 16 slices (12 of a single customer or voice)" in decision.record["summary"]
    )


def test_the_same_evidence_gives_the_same_id_at_any_time_and_other_evidence_another() -> None:
    first = _decide()
    assert _decide(now=NOW + timedelta(days=1)).decision_id == first.decision_id
    assert _decide(by="anna").decision_id != first.decision_id
    assert _decide(examples.evidence(min_gain=0.01)).decision_id != first.decision_id


def test_a_skipped_check_lets_pass_and_its_reason_is_on_the_record(tmp_path: Path) -> None:
    skip = {
        "data_contract": "The export of March came without outcomes; agreed with the data office."
    }
    decision = _decide(examples.evidence(facts={"contract_ok": None}, skip=skip))
    assert decision.accepted
    (answer,) = [check for check in decision.checks if check.name == "data_contract"]
    assert answer.verdict == "skipped"
    assert skip["data_contract"] in answer.sentence
    assert "data_contract skipped" in decision.record["summary"]
    _, page = write_decision(decision, tmp_path)
    assert skip["data_contract"] in page.read_text()


def test_a_skip_of_something_that_is_no_check_is_refused() -> None:
    with pytest.raises(DecisionError, match="flor, which is no check"):
        _decide(examples.evidence(skip={"flor": "a slip of the pen"}))


def test_models_of_different_kinds_are_not_compared() -> None:
    evidence = examples.evidence()
    assert evidence.reference is not None
    with pytest.raises(DecisionError, match="is asr, its reference"):
        _decide(replace(evidence, reference=replace(evidence.reference, kind="churn")))


def test_E12_the_critical_words_check_states_how_many_words_it_rests_on() -> None:
    (check,) = [check for check in _decide().checks if check.name == "critical_words"]
    units = examples.asr(0.1).units
    heard, said = units["hits_negation"].sum(), units["said_negation"].sum()
    assert f"({heard} of {said} heard" in check.sentence


@pytest.mark.parametrize("name", ["slices", "critical_words", "calibration"])
def test_E12_a_promise_says_what_becomes_of_that_which_cannot_be_told(name: str) -> None:
    assert "unproven" in CHECKS[name].PROMISE


def test_E12_what_is_unproven_refuses_only_where_proof_is_required() -> None:
    assert _decide().accepted
    strict = _decide(examples.evidence(required_proof=("slices",)))
    assert not strict.accepted
    assert "there is no evidence for slices" in strict.record["summary"]
    with pytest.raises(DecisionError, match="required_proof names slice, which is no check"):
        _decide(examples.evidence(required_proof=("slice",)))
