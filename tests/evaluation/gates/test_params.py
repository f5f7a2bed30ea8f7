"""Limits are looser than by default only for a written reason, and settings are validated."""

from pathlib import Path
from typing import Any

import pytest

from data.params import ParamsError, section
from evaluation.gates import examples
from evaluation.gates.params import AsrGate, GateParams
from evaluation.report.decision import write_decision
from tests.registry_helpers import gate_decision


@pytest.mark.parametrize("reason", ["", "  ", None, True])
def test_a_skip_without_a_reason_is_not_a_setting(reason: Any) -> None:
    with pytest.raises(ValueError, match=r"without a reason|gate.asr.skip.floor must be str"):
        section(GateParams, {"asr": {"skip": {"floor": reason}}}, "gate")


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
def test_a_limit_is_looser_than_by_default_only_for_a_written_reason(
    limits: dict[str, Any], named: str, tmp_path: Path
) -> None:
    for reason in ({}, {"relaxation_reason": "  "}):
        with pytest.raises(ValueError, match=f"gate: {named} (is|are) looser than by default"):
            section(GateParams, {"asr": {**limits, **reason}}, "gate")
    why = "Pilot of six weeks; agreed with the head of service."
    gates = section(GateParams, {"asr": {**limits, "relaxation_reason": why}}, "gate")
    decision = gate_decision(examples.evidence(), gates)
    assert ", ".join(decision.record["params"]["relaxed_limits"]) == named
    assert decision.record["params"]["relaxation_reason"] == why
    assert "looser than by default" in decision.record["summary"]
    _, page = write_decision(decision, tmp_path)
    assert f"{named}: {why}" in page.read_text()


def test_churn_limits_are_relaxed_only_for_a_reason_and_tightened_freely() -> None:
    for limits in (
        {"calibration_slope": [0.1, 1.5]},
        {"calibration_ratio": [0.8, 1.9]},
        {"floors": {"scaled_brier": -0.1}},
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
    assert section(GateParams, {"churn": tight}, "gate").churn.relaxed_limits() == []
    assert gate_decision(examples.evidence()).record["params"]["relaxed_limits"] == []
    assert "looser" not in gate_decision(examples.evidence()).record["summary"]


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
def test_what_is_no_limit_is_no_setting_for_any_reason(limits: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        section(GateParams, {"asr": {**limits, "relaxation_reason": "I would like to"}}, "gate")


def test_naming_one_behaviour_test_or_floor_does_not_drop_the_others() -> None:
    gate = section(
        GateParams, {"asr": {"behaviour": {"louder": 0.01}, "floors": {"cer": 0.2}}}, "gate"
    ).asr
    assert gate.behaviour == {**AsrGate().behaviour, "louder": 0.01}
    assert gate.floors == {**AsrGate().floors, "cer": 0.2}
    decision = gate_decision(examples.evidence(behaviour={"louder": 0.05}, probes={"quieter": 0.9}))
    assert "it failed behaviour" in decision.record["summary"]


def test_settings_are_read_from_params_and_unknown_ones_refused() -> None:
    gate = section(GateParams, {"asr": {"floors": {"wer": 0.4}, "licences": ["MIT"]}}, "gate").asr
    assert (gate.floors, gate.licences, gate.metric) == ({"wer": 0.4}, ("MIT",), "wer")
    with pytest.raises(ParamsError, match=r"gate\.asr\.flors is not a setting"):
        section(GateParams, {"asr": {"flors": {}}}, "gate")
    with pytest.raises(ValueError, match="level is 95"):
        AsrGate(level=95)


def test_the_old_key_of_the_reason_is_still_read_and_the_new_one_counts() -> None:
    limits = {"min_gain": -1}
    old = section(GateParams, {"asr": {**limits, "loosened": "a pilot"}}, "gates").asr
    assert old.relaxation_reason == "a pilot"
    both = {**limits, "loosened": "a pilot", "relaxation_reason": "a demo"}
    assert section(GateParams, {"asr": both}, "gates").asr.relaxation_reason == "a demo"
