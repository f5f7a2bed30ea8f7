"""A decision record is validated as it is stored; records of format 2 stay readable."""

import json
from pathlib import Path
from typing import Any

import pytest

from data.files import write_json
from evaluation.gates import examples
from evaluation.gates.record import DecisionError, read_decision, upgraded, validate_record
from evaluation.report.decision import decision_page, write_decision
from models.registry.ledger import decision_id
from tests.registry_helpers import NOW, RegistryFixture, a_decision, gate_decision


def test_a_record_edited_after_the_fact_is_refused(tmp_path: Path) -> None:
    path, _ = write_decision(
        gate_decision(examples.evidence(facts={"contract_ok": False})), tmp_path
    )
    record = json.loads(path.read_text())
    path.write_text(json.dumps({**record, "verdict": "accepted"}))
    with pytest.raises(DecisionError, match="altered"):
        read_decision(path)


def test_a_record_that_does_not_keep_the_schema_is_refused() -> None:
    record = {**gate_decision(examples.evidence()).record}
    del record["checks"]
    with pytest.raises(DecisionError, match="'checks' is a required property"):
        validate_record(record)


def _estimate(value: float) -> dict[str, Any]:
    return {"value": value, "low": 0.1, "high": 0.4, "n": 240, "lower_is_better": True}


def _scored(model: str) -> dict[str, Any]:
    return {
        "model": model,
        "bundle_sha256": "a" * 64,
        "data_hash": "d1",
        "scored_at": "2026-02-01T12:00:00+00:00",
        "metrics": {"wer": _estimate(0.2)},
    }


def _format_2() -> dict[str, Any]:
    """A record as format 2 had it, written by hand."""
    look = {
        "what": "role agent",
        "verdict": "pass",
        "estimate": 0.1,
        "low": 0.05,
        "high": 0.15,
        "threshold": 0.0,
        "p": 1.0,
        "clusters": 12,
    }
    check = {
        "name": "slices",
        "promise": "No slice pays for the average.",
        "verdict": "pass",
        "metric": "wer",
        "estimate": 0.1,
        "low": 0.05,
        "high": 0.15,
        "threshold": 0.0,
        "looks": [look],
        "sentence": "Surely worse in none of 1 slices.",
    }
    record: dict[str, Any] = {
        "format": 2,
        "kind": "asr",
        "verdict": "accepted",
        "summary": "candidate is accepted: 1 of 1 checks passed.",
        "data_hash": "d1",
        "candidate": _scored("candidate"),
        "reference": _scored("champion"),
        "reference_is_champion": True,
        "beside": {"guardrail": {"candidate": _scored("c"), "reference": _scored("r")}},
        "probes": None,
        "checks": [check],
        "params": {
            "seed": 0,
            "metric": "wer",
            "floors": {"wer": 0.5},
            "min_gain": -1.0,
            "level": 0.95,
            "min_units": 100,
            "min_clusters": 5,
            "max_size_mib": 600.0,
            "max_latency_s": 10.0,
            "behaviour": {},
            "slice_alpha": 0.05,
            "max_slice_loss": 0.0,
            "min_slice_clusters": 5,
            "licences": [],
            "skip": {},
            "approval": "none",
            "loosened": "a pilot",
            "looser": ["min_gain"],
        },
        "facts": {
            "licence": "MIT",
            "size_bytes": 1,
            "bundle_sha256": "a" * 64,
            "smoke_ok": True,
            "latency_s": 0.1,
            "contract_ok": True,
            "trained_by": "anna",
        },
        "decided_by": "gate, for schedule",
        "decided_at": "2026-02-01T12:00:00+00:00",
    }
    return {**record, "decision_id": decision_id(record)}


def test_a_record_of_format_2_is_read_in_the_names_of_format_3(tmp_path: Path) -> None:
    stored = _format_2()
    write_json(tmp_path / "old.json", stored)
    decision = read_decision(tmp_path / "old.json")
    assert decision.accepted
    assert decision.decision_id == stored["decision_id"]
    assert decision.record["format"] == 3
    assert decision.record["secondary"] == stored["beside"]
    assert decision.record["params"]["relaxation_reason"] == "a pilot"
    assert decision.record["params"]["relaxed_limits"] == ["min_gain"]
    (check,) = decision.checks
    assert check.measurements[0].what == "role agent"
    page = decision_page(decision.record)
    assert "min_gain: a pilot" in page
    assert "c against r" in page


def test_a_record_of_format_2_edited_after_the_fact_is_refused(tmp_path: Path) -> None:
    write_json(tmp_path / "old.json", {**_format_2(), "verdict": "refused"})
    with pytest.raises(DecisionError, match="altered"):
        read_decision(tmp_path / "old.json")
    broken = _format_2()
    del broken["checks"]
    with pytest.raises(DecisionError, match="'checks' is a required property"):
        validate_record(broken)


@pytest.mark.parametrize(
    "value", [None, [], {}, {"format": 2}, {"format": 2, "checks": 3, "params": None}]
)
def test_what_is_no_record_is_left_for_the_schema_to_refuse(value: Any) -> None:
    upgraded(value)
    with pytest.raises(DecisionError):
        validate_record(value)


def test_the_registry_promotes_by_a_stored_record_of_format_2(tmp_path: Path) -> None:
    """The registry checks id, verdict, checks and bundle, none of which format 3 renamed."""
    shop = RegistryFixture(tmp_path)
    version, sha256 = shop.version("one")
    record = a_decision(sha256)
    old: dict[str, Any] = {**record, "format": 2, "beside": record["secondary"]}
    del old["secondary"]
    old["checks"] = [
        {"looks" if key == "measurements" else key: value for key, value in check.items()}
        for check in record["checks"]
    ]
    old["params"] = {**record["params"], "loosened": "", "looser": []}
    del old["params"]["relaxation_reason"], old["params"]["relaxed_limits"]
    old["decision_id"] = decision_id(old)
    assert validate_record(old).record == {**record, "decision_id": old["decision_id"]}
    shop.registry.promote("churn", version, expected=None, decision=old, actor="anna", now=NOW)
    assert shop.registry.alias("churn", "champion") == version
