"""S2: where params.yaml asks for a person, nothing moves until one who did not train the model has
said yes.
"""

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from evaluation.gates import examples
from evaluation.gates.record import Decision
from evaluation.report.decision import write_decision
from flows.candidate import approvals
from flows.runtime.context import RunContext
from flows.runtime.params import Params
from flows.runtime.settings import from_environment
from models.registry.approval import ApprovalError, make_approval
from models.registry.ledger import digest
from models.registry.registry import PromotionRefusedError
from tests.registry_helpers import NOW, RegistryFixture, gate_decision, with_reference

ROOT = Path(__file__).parents[2]


@pytest.fixture
def fixture(tmp_path: Path) -> RegistryFixture:
    return RegistryFixture(tmp_path)


def _waiting(sha: str, **facts: Any) -> Decision:
    """An accepted decision about the bundle `sha`, trained by anna, that waits for a person."""
    candidate = dataclasses.replace(examples.churn(0.2), bundle_sha256=sha)
    evidence = examples.evidence(
        candidate, facts={"trained_by": "anna", **facts}, approval="required"
    )
    decision = gate_decision(with_reference(evidence, ""))
    assert decision.accepted
    return decision


def _context(folder: Path) -> RunContext:
    return RunContext(from_environment({}, folder), Params(), "c" * 40)


def test_S2_an_accepted_candidate_does_not_move_without_approval(fixture: RegistryFixture) -> None:
    version, sha = fixture.version("one")
    record = _waiting(sha).record
    fixture.registry.challenge("churn", version, decision=record, actor="schedule", now=NOW)
    with pytest.raises(PromotionRefusedError, match="waits for approval"):
        fixture.registry.promote(
            "churn", version, expected=None, decision=record, actor="schedule", now=NOW
        )
    assert fixture.registry.alias("churn", "champion") is None
    assert fixture.registry.alias("churn", "challenger") == version

    yes = make_approval(record, "approved", by="ben", now=NOW)
    entry = fixture.registry.promote(
        "churn", version, expected=None, decision=record, actor="schedule", now=NOW, approval=yes
    )
    assert (entry.actor, entry.approved_by) == ("schedule", "ben")
    assert fixture.registry.alias("churn", "champion") == version
    assert fixture.registry.alias("churn", "challenger") is None
    assert [entry.action for entry in fixture.registry.ledger("churn")] == ["challenge", "promote"]


@pytest.mark.parametrize("by", ["anna", " Anna ", "ANNA"])
def test_S2_who_trained_may_not_approve(fixture: RegistryFixture, by: str) -> None:
    version, sha = fixture.version("one")
    record = _waiting(sha).record
    with pytest.raises(ApprovalError, match="trained this model"):
        make_approval(record, "approved", by=by, now=NOW)
    forged = {**make_approval(record, "approved", by="ben", now=NOW), "by": by}
    with pytest.raises(PromotionRefusedError, match="altered"):
        fixture.registry.promote(
            "churn",
            version,
            expected=None,
            decision=record,
            actor="schedule",
            now=NOW,
            approval=forged,
        )
    assert fixture.registry.ledger() == []


def test_S2_a_model_whose_trainer_nobody_knows_is_approved_by_nobody() -> None:
    with pytest.raises(ApprovalError, match="nobody knows who trained"):
        make_approval(_waiting("f" * 64, trained_by="").record, "approved", by="ben", now=NOW)


def test_S2_an_approval_of_another_decision_opens_nothing(fixture: RegistryFixture) -> None:
    (version, sha), (_, other) = fixture.version("one"), fixture.version("two")
    yes = make_approval(_waiting(other).record, "approved", by="ben", now=NOW)
    with pytest.raises(PromotionRefusedError, match="another decision"):
        fixture.registry.promote(
            "churn",
            version,
            expected=None,
            decision=_waiting(sha).record,
            actor="schedule",
            now=NOW,
            approval=yes,
        )
    assert fixture.registry.alias("churn", "champion") is None


def test_S2_a_persons_no_and_a_forged_yes_of_who_trained_move_nothing(
    fixture: RegistryFixture,
) -> None:
    version, sha = fixture.version("one")
    record = _waiting(sha).record
    no = make_approval(record, "refused", by="ben", now=NOW, note="wait for the new tariff")
    with pytest.raises(PromotionRefusedError, match="ben refused it: wait for the new tariff"):
        fixture.registry.promote(
            "churn", version, expected=None, decision=record, actor="schedule", now=NOW, approval=no
        )
    body = {
        key: value
        for key, value in make_approval(record, "approved", by="ben", now=NOW).items()
        if key != "approval_id"
    }
    for change, says in (
        ({"by": "Anna"}, "Anna trained this model"),
        ({"bundle_sha256": "f" * 64}, "another bundle"),
    ):
        forged = {**body, **change}
        # Whoever forges an approval can compute its id as well.
        forged["approval_id"] = digest(forged)[:16]
        with pytest.raises(PromotionRefusedError, match=says):
            fixture.registry.promote(
                "churn",
                version,
                expected=None,
                decision=record,
                actor="schedule",
                now=NOW,
                approval=forged,
            )
    assert fixture.registry.ledger() == []


def test_S2_a_refusal_of_the_gate_cannot_be_overruled() -> None:
    refused = gate_decision(examples.evidence(examples.churn(9.0), approval="required"))
    with pytest.raises(ApprovalError, match="cannot overrule"):
        make_approval(refused.record, "approved", by="ben", now=NOW)


def test_S2_the_first_answer_stands_and_is_found_again(tmp_path: Path) -> None:
    context = _context(tmp_path)
    decision = _waiting("a" * 64)
    write_decision(decision, context.path("decisions/churn"))
    answer = approvals.answer(
        context, decision.decision_id[:6], "refused", "ben", "wait for the new tariff"
    )
    assert approvals.approval_of(context, decision.decision_id) == answer
    assert (
        approvals.answer(context, decision.decision_id, "refused", "ben")["note"]
        == "wait for the new tariff"
    )
    with pytest.raises(ApprovalError, match="ben has refused it already"):
        approvals.answer(context, decision.decision_id, "approved", "cleo")
    for unknown in ("zzzz", "*", "../churn/" + decision.decision_id[:4]):
        with pytest.raises(ApprovalError, match="there is none"):
            approvals.answer(context, unknown, "approved", "cleo")
