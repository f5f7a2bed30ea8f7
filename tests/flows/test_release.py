"""What becomes of a candidate after the verdict: promoted, waiting, refused, rolled back; and who then is in office."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import pytest

from data.store import read_json, write_json
from evaluation.gates import examples
from evaluation.gates.decide import write_decision
from flows import approving, judging, notices
from flows.params import Params
from flows.settings import from_environment
from flows.steps import Street
from models.approval import ApprovalError
from tests.judging import Shop, a_bundle, judged


@pytest.fixture
def street(tmp_path: Path) -> Street:
    """A street whose store is a shop's folder, so that its registry is the shop's."""
    shop = Shop(tmp_path)
    street = Street(from_environment({"KEEPLINE_ACTOR": "schedule"}, tmp_path), Params(), "c" * 40)
    write_json(tmp_path / "train_churn.json", {"run_id": shop.run_id})
    return street


def _candidate(street: Street, content: str, approval: str = "none", blur: float = 0.2) -> str:
    """A new bundle and the gate's decision about it, as the steps before leave them; the decision's id."""
    bundle = a_bundle(street.path("churn/bundle"), content)
    line = judging.registry(street).ledger("churn")
    champion = judging.registry(street).alias("churn", "champion")
    beaten = next((entry.bundle_sha256 for entry in reversed(line) if entry.version == champion), "")
    evidence = examples.evidence(
        dataclasses.replace(examples.churn(blur), bundle_sha256=bundle.sha256), facts={"trained_by": "anna"},
        approval=approval,
    )  # fmt: skip
    evidence = dataclasses.replace(evidence, reference=dataclasses.replace(evidence.reference, bundle_sha256=beaten))
    decision = judged(evidence)
    record, _ = write_decision(decision, street.path("decisions/churn"))
    write_json(
        street.path("decide_churn.json"),
        {"decision_id": decision.decision_id, "verdict": decision.record["verdict"], "record": record.name,
         "approval": approval, "summary": "", "reference": {"model": "life table", "path": None}},
    )  # fmt: skip
    return decision.decision_id


def test_S1_after_a_rollback_the_champion_is_in_office_again_and_not_the_last_candidate(street: Street):
    for content in ("one", "two"):
        _candidate(street, content)
        judging.release(street, "churn")
    judging.leave_office(street, "churn")
    assert judging.in_office(street, "churn").endswith("churn/v2")
    judging.registry(street).rollback("churn", "ben", street.now())
    judging.leave_office(street, "churn")
    assert judging.in_office(street, "churn").endswith("churn/v1")
    assert judging.release(street, "churn")["says"].startswith("was rolled back")
    assert judging.registry(street).alias("churn", "champion") == 1


def test_S2_a_candidate_waits_as_challenger_until_it_is_approved(street: Street):
    decision_id = _candidate(street, "one", "required")
    waiting = judging.release(street, "churn")
    assert (waiting["waits"], waiting["champion"]) == (decision_id, None)
    judging.leave_office(street, "churn")
    assert judging.in_office(street, "churn") is None
    office = judging.registry(street)
    assert office.alias("churn", "challenger") == waiting["version"]

    approving.answer(street, decision_id, "approved", "ben", "seen the slices")
    released = judging.release(street, "churn")
    assert (released["waits"], released["champion"]) == (None, waiting["version"])
    assert office.ledger("churn")[-1].approved_by == "ben"
    assert office.version_tags("churn", 1)["approval_by"] == "ben"
    assert office.alias("churn", "challenger") is None
    judging.leave_office(street, "churn")
    assert judging.in_office(street, "churn").endswith("churn/v1")


def test_S2_a_flow_on_a_server_tells_people_asks_and_releases_what_was_approved(street: Street, monkeypatch):
    from flows import retrain

    asked = []

    def ask(there: Street, decision_id: str, summary: str) -> dict:
        asked.append((decision_id, summary))
        return approving.answer(there, decision_id, "approved", "ben")

    monkeypatch.setattr(os, "environ", dict(os.environ))
    monkeypatch.setattr(retrain.wiring, "street", lambda **places: street)
    monkeypatch.setattr(retrain.wiring, "steps_for", lambda *of: ["release_churn"])
    monkeypatch.setattr(retrain, "step", retrain.step.fn)
    monkeypatch.setattr(retrain.pausing, "ask", ask)
    decision_id = _candidate(street, "one", "required")

    found = retrain.retrain.fn()
    assert found["release_churn"]["waits"] == decision_id
    assert asked == [], "without a server there is nobody to ask"
    assert f"keepline approve {decision_id}" in (street.store / notices.FILE).read_text()

    monkeypatch.setattr(retrain.pausing, "on_a_server", lambda: True)
    found = retrain.retrain.fn()
    assert asked == [(decision_id, "")]
    assert (found["release_churn"]["waits"], found["release_churn"]["champion"]) == (None, 1)
    assert judging.registry(street).ledger("churn")[-1].approved_by == "ben"


def test_S2_what_the_service_found_unhealthy_cannot_be_approved_until_somebody_says_why_it_may(street: Street):
    decision_id = _candidate(street, "one", "required")
    judging.release(street, "churn")
    office = judging.registry(street)
    office.annotate("churn", 1, {"stopped": "3 of its last 3 answers failed"})
    with pytest.raises(ApprovalError, match=r"stopped v1 \(3 of its last 3 answers failed\).*keepline readmit churn 1"):
        approving.answer(street, decision_id, "approved", "ben")
    assert approving.of(street, decision_id) is None
    office.readmit("churn", 1, "ben", "the network was down")
    assert approving.answer(street, decision_id, "approved", "ben")["answer"] == "approved"


def test_S3_what_was_approved_and_then_found_unhealthy_is_not_released(street: Street):
    decision_id = _candidate(street, "one", "required")
    judging.release(street, "churn")
    approving.answer(street, decision_id, "approved", "ben")
    judging.registry(street).annotate("churn", 1, {"stopped": "three errors"})
    assert judging.release(street, "churn")["says"].startswith("was stopped by the service (three errors)")
    assert judging.registry(street).alias("churn", "champion") is None


def test_S2_a_refused_candidate_leaves_everything_where_it_was(street: Street):
    _candidate(street, "one")
    judging.release(street, "churn")
    decision_id = _candidate(street, "two", "required")
    judging.release(street, "churn")
    approving.answer(street, decision_id, "refused", "ben")
    released = judging.release(street, "churn")
    assert released["champion"] == 1
    assert "refused by ben" in released["says"]
    assert judging.registry(street).alias("churn", "challenger") is None


def test_E8_a_refusal_is_found_on_the_version_too(street: Street):
    decision_id = _candidate(street, "bad", blur=9.0)
    released = judging.release(street, "churn")
    assert released["verdict"] == "refused"
    tags = judging.registry(street).version_tags("churn", released["version"])
    assert (tags["verdict"], tags["decision_id"]) == ("refused", decision_id)
    assert tags["decision"].endswith(f"decision/{decision_id}.json")
    assert read_json(street.path("release_churn.json"))["champion"] is None
