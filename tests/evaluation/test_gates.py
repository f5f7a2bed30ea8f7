"""Every check accepts what it should and refuses what it should; the gate says no without evidence."""

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from data.params import ParamsError, section
from evaluation.gates import examples
from evaluation.gates.decide import check_modules
from evaluation.gates.evidence import Check
from evaluation.gates.inconclusive import is_inconclusive
from evaluation.gates.params import AsrGate, GateParams
from evaluation.gates.record import DecisionError, read_decision, validate_record
from evaluation.report.decision import write_decision
from tests.registry_helpers import NOW, gate_decision

CHECKS = {module.NAME: module for module in check_modules()}
ACCEPTED = [(name, n) for name, module in CHECKS.items() for n in range(len(module.ACCEPTS))]
REFUSED = [(name, n) for name, module in CHECKS.items() for n in range(len(module.REFUSES))]


def _decide(evidence=None, by="nightly", now=NOW, params=None):
    return gate_decision(evidence or examples.evidence(), params, now=now, by=by)


def test_the_checks_are_found_by_name():
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
def test_a_check_passes_what_it_says_it_accepts(name, n):
    answer = CHECKS[name].check(CHECKS[name].ACCEPTS[n]())
    assert answer.verdict == "pass", answer.sentence
    assert answer.name == name


@pytest.mark.parametrize(("name", "n"), REFUSED)
def test_the_gate_refuses_what_a_check_says_it_refuses_and_names_the_check(name, n):
    evidence = CHECKS[name].REFUSES[n]()
    decision = _decide(evidence)
    assert not decision.accepted
    (answer,) = [check for check in decision.checks if check.name == name]
    assert answer.verdict in ("fail", "no_evidence"), answer.sentence
    assert name in decision.record["summary"]


def test_evidence_worth_accepting_is_accepted():
    decision = _decide()
    assert decision.accepted, decision.record["summary"]
    assert {check.verdict for check in decision.checks} == {"pass"}


def test_the_same_evidence_gives_the_same_id_at_any_time_and_other_evidence_another():
    first = _decide()
    assert _decide(now=NOW + timedelta(days=1)).decision_id == first.decision_id
    assert _decide(by="anna").decision_id != first.decision_id
    assert _decide(examples.evidence(min_gain=0.01)).decision_id != first.decision_id


def test_a_skipped_check_lets_pass_and_its_reason_is_on_the_record(tmp_path: Path):
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


@pytest.mark.parametrize("reason", ["", "  ", None, True])
def test_a_skip_without_a_reason_is_not_a_setting(reason):
    with pytest.raises(ValueError, match=r"without a reason|gate.asr.skip.floor must be str"):
        section(GateParams, {"asr": {"skip": {"floor": reason}}}, "gate")


def test_a_skip_of_something_that_is_no_check_is_refused():
    with pytest.raises(DecisionError, match="flor, which is no check"):
        _decide(examples.evidence(skip={"flor": "a slip of the pen"}))


@pytest.mark.parametrize(
    ("limits", "named"),
    [
        ({"min_gain": -1}, "min_gain"),
        ({"min_units": 3, "min_clusters": 2}, "min_units, min_clusters"),
        ({"floors": {"wer": 0.9}}, "floors.wer"),
        ({"behaviour": {"louder": 99}}, "behaviour.louder"),
        ({"max_guardrail_loss": 9}, "max_guardrail_loss"),
        ({"level": 0.8}, "level"),
        ({"slice_alpha": 0.00001}, "slice_alpha"),
        ({"min_slice_clusters": 1000}, "min_slice_clusters"),
    ],
)
def test_a_limit_is_looser_than_by_default_only_for_a_written_reason(limits, named, tmp_path: Path):
    for reason in ({}, {"loosened": "  "}):
        with pytest.raises(ValueError, match=f"gate: {named} (is|are) looser than by default"):
            section(GateParams, {"asr": {**limits, **reason}}, "gate")
    why = "Pilot of six weeks; agreed with the head of service."
    gates = section(GateParams, {"asr": {**limits, "loosened": why}}, "gate")
    decision = _decide(params=gates)
    assert ", ".join(decision.record["params"]["looser"]) == named
    assert decision.record["params"]["loosened"] == why
    assert "looser than by default" in decision.record["summary"]
    _, page = write_decision(decision, tmp_path)
    assert f"{named}: {why}" in page.read_text()


def test_churn_limits_are_loosened_only_for_a_reason_and_tightened_freely():
    for limits in (
        {"calibration_slope": [0.1, 1.5]},
        {"calibration_intercept": [-0.3, 0.9]},
        {"long_horizon_days": 365},
    ):
        with pytest.raises(ValueError, match="looser than by default"):
            section(GateParams, {"churn": limits}, "gate")
    tight = {
        "calibration_slope": [0.9, 1.1],
        "long_horizon_days": 90,
        "min_gain": 0.01,
        "level": 0.99,
        "max_long_loss": 0,
    }
    assert section(GateParams, {"churn": tight}, "gate").churn.looser() == []
    assert _decide().record["params"]["looser"] == []
    assert "looser" not in _decide().record["summary"]


@pytest.mark.parametrize(
    ("limits", "says"),
    [
        ({"floors": {"wer": float("inf")}}, "floors.wer is inf"),
        ({"floors": {"cer": float("inf")}}, "floors.cer is inf"),
        ({"max_guardrail_loss": float("inf")}, "max_guardrail_loss is inf"),
        ({"min_gain": float("-inf")}, "min_gain is -inf"),
        ({"min_units": -1}, "min_units is -1"),
        ({"max_slice_loss": -0.1}, "max_slice_loss is -0.1"),
    ],
)
def test_what_is_no_limit_is_no_setting_for_any_reason(limits, says):
    with pytest.raises(ValueError, match=says):
        section(GateParams, {"asr": {**limits, "loosened": "I would like to"}}, "gate")


def test_naming_one_behaviour_test_or_floor_does_not_drop_the_others():
    gate = section(
        GateParams, {"asr": {"behaviour": {"louder": 0.01}, "floors": {"cer": 0.2}}}, "gate"
    ).asr
    assert gate.behaviour == {**AsrGate().behaviour, "louder": 0.01}
    assert gate.floors == {**AsrGate().floors, "cer": 0.2}
    decision = _decide(examples.evidence(behaviour={"louder": 0.05}, probes={"quieter": 0.9}))
    assert "it failed behaviour" in decision.record["summary"]


def test_settings_are_read_from_params_and_unknown_ones_refused():
    gate = section(GateParams, {"asr": {"floors": {"wer": 0.4}, "licences": ["MIT"]}}, "gate").asr
    assert (gate.floors, gate.licences, gate.metric) == ({"wer": 0.4}, ("MIT",), "wer")
    with pytest.raises(ParamsError, match=r"gate\.asr\.flors is not a setting"):
        section(GateParams, {"asr": {"flors": {}}}, "gate")
    with pytest.raises(ValueError, match="level is 95"):
        AsrGate(level=95)


def test_models_of_different_kinds_are_not_compared():
    evidence = examples.evidence()
    with pytest.raises(DecisionError, match="is asr, its reference"):
        _decide(replace(evidence, reference=replace(evidence.reference, kind="churn")))


def test_a_record_edited_after_the_fact_is_refused(tmp_path: Path):
    path, _ = write_decision(_decide(examples.evidence(facts={"contract_ok": False})), tmp_path)
    record = json.loads(path.read_text())
    path.write_text(json.dumps({**record, "verdict": "accepted"}))
    with pytest.raises(DecisionError, match="altered"):
        read_decision(path)


def test_a_record_that_does_not_keep_the_schema_is_refused():
    record = {**_decide().record}
    del record["checks"]
    with pytest.raises(DecisionError, match="'checks' is a required property"):
        validate_record(record)


@pytest.mark.parametrize(
    ("check", "unproven"),
    [
        (Check("better", "fail", "", "wer", 0.07, -0.01, 0.3, 0.0), True),
        (Check("better", "fail", "", "wer", -0.07, -0.3, 0.01, 0.0), False),
        (Check("downstream", "no_evidence", "nobody met with friction"), True),
        (Check("downstream", "fail", "", None, -0.2, -0.3, -0.1, -0.05), False),
        (Check("enough_evidence", "no_evidence", "too few"), True),
        (Check("slices", "fail", "surely worse in one"), False),
        (Check("licence", "no_evidence", ""), False),
    ],
    ids=lambda one: f"{one.name}-{one.verdict}" if isinstance(one, Check) else "",
)
def test_a_small_folder_may_lack_proof_but_not_speak_against_the_candidate(check, unproven):
    assert is_inconclusive(check) is unproven
