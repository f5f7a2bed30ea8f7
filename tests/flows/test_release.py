"""What becomes of a candidate after the verdict, and which model is active then."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

import pytest

from data.files import read_json, write_json
from evaluation.gates import examples
from evaluation.report.decision import write_decision
from flows.candidate import active_model, approval_form, approvals, release
from flows.runtime import notifications
from flows.runtime.context import RunContext
from flows.runtime.params import Params
from flows.runtime.settings import from_environment
from flows.stages import runner
from models.registry.approval import ApprovalError
from tests.registry_helpers import RegistryFixture, a_bundle, gate_decision, with_reference


@pytest.fixture
def context(tmp_path: Path) -> RunContext:
    """A context whose store is a shop's folder, so that its registry is the shop's."""
    shop = RegistryFixture(tmp_path)
    context = RunContext(
        from_environment({"KEEPLINE_ACTOR": "schedule"}, tmp_path), Params(), "c" * 40
    )
    write_json(tmp_path / "train_churn.json", {"run_id": shop.run_id})
    return context


def _candidate(context: RunContext, content: str, approval: str = "none", blur: float = 0.2) -> str:
    """Writes a new bundle and the decision about it, as earlier stages do; returns its id."""
    bundle = a_bundle(context.path("churn/bundle"), content)
    line = context.registry().ledger("churn")
    champion = context.registry().alias("churn", "champion")
    beaten = next(
        (entry.bundle_sha256 for entry in reversed(line) if entry.version == champion), ""
    )
    evidence = examples.evidence(
        dataclasses.replace(examples.churn(blur), bundle_sha256=bundle.sha256),
        facts={"trained_by": "anna"},
        approval=approval,
    )
    decision = gate_decision(with_reference(evidence, beaten))
    record, _ = write_decision(decision, context.path("decisions/churn"))
    write_json(
        context.path("decide_churn.json"),
        {
            "decision_id": decision.decision_id,
            "verdict": decision.record["verdict"],
            "record": record.name,
            "approval": approval,
            "summary": "",
            "reference": {"model": "life table", "path": None},
        },
    )
    return decision.decision_id


def test_S1_after_a_rollback_the_champion_is_active_again_and_not_the_last_candidate(
    context: RunContext,
) -> None:
    for content in ("one", "two"):
        _candidate(context, content)
        release.release(context, "churn")
    active_model.write_active_model(context, "churn")
    assert str(active_model.active_model_path(context, "churn")).endswith("churn/v2")
    context.registry().rollback("churn", "ben", context.now())
    active_model.write_active_model(context, "churn")
    assert str(active_model.active_model_path(context, "churn")).endswith("churn/v1")
    assert release.release(context, "churn")["says"].startswith("was rolled back")
    assert context.registry().alias("churn", "champion") == 1


def test_S2_a_candidate_waits_as_challenger_until_it_is_approved(context: RunContext) -> None:
    decision_id = _candidate(context, "one", "required")
    waiting = release.release(context, "churn")
    assert (waiting["waits"], waiting["champion"]) == (decision_id, None)
    active_model.write_active_model(context, "churn")
    assert active_model.active_model_path(context, "churn") is None
    registry = context.registry()
    assert registry.alias("churn", "challenger") == waiting["version"]

    approvals.answer(context, decision_id, "approved", "ben", "seen the slices")
    released = release.release(context, "churn")
    assert (released["waits"], released["champion"]) == (None, waiting["version"])
    assert registry.ledger("churn")[-1].approved_by == "ben"
    assert registry.version_tags("churn", 1)["approval_by"] == "ben"
    assert registry.alias("churn", "challenger") is None
    active_model.write_active_model(context, "churn")
    assert str(active_model.active_model_path(context, "churn")).endswith("churn/v1")


def test_S2_a_flow_on_a_server_tells_people_asks_and_releases_what_was_approved(
    context: RunContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flows import release as release_flow
    from flows import tasks
    from flows.runtime import parts, published

    questions = []

    def ask(own_context: RunContext, decision_id: str, summary: str) -> dict[str, Any]:
        questions.append((decision_id, summary))
        return approvals.answer(own_context, decision_id, "approved", "ben")

    def run_stage(own_context: RunContext, name: str) -> dict[str, Any]:
        """Runs a stage without Prefect's task around it."""
        return runner.run_stage(own_context, name, tasks.console)[0]

    monkeypatch.setattr(os, "environ", dict(os.environ))
    monkeypatch.setattr(tasks, "_context", lambda *of, **places: context)
    monkeypatch.setattr(parts, "release_stages", lambda kind: [f"release_{kind}"])
    monkeypatch.setattr(tasks, "run_stage", run_stage)
    monkeypatch.setattr(release_flow, "run_stage", run_stage)
    monkeypatch.setattr(published, "emit_promotion", lambda *of: None)
    monkeypatch.setattr(approval_form, "ask", ask)
    decision_id = _candidate(context, "one", "required")

    summaries = release_flow.release.fn("demo", "churn")
    assert summaries["release_churn"]["waits"] == decision_id
    assert questions == [], "without a server there is nobody to ask"
    assert f"keepline approve {decision_id}" in (context.store / notifications.FILE).read_text()

    monkeypatch.setattr(approval_form, "can_suspend", lambda: True)
    summaries = release_flow.release.fn("demo", "churn")
    assert questions == [(decision_id, "")]
    assert (summaries["release_churn"]["waits"], summaries["release_churn"]["champion"]) == (
        None,
        1,
    )
    assert context.registry().ledger("churn")[-1].approved_by == "ben"
    assert (context.store / notifications.FILE).read_text().count("churn: v1 promoted") == 1


def test_S2_what_the_service_found_unhealthy_cannot_be_approved_until_somebody_says_why_it_may(
    context: RunContext,
) -> None:
    decision_id = _candidate(context, "one", "required")
    release.release(context, "churn")
    registry = context.registry()
    registry.annotate("churn", 1, {"stopped": "3 of its last 3 answers failed"})
    with pytest.raises(
        ApprovalError,
        match=r"stopped v1 \(3 of its last 3 answers failed\).*keepline readmit churn 1",
    ):
        approvals.answer(context, decision_id, "approved", "ben")
    assert approvals.approval_of(context, decision_id) is None
    registry.readmit("churn", 1, actor="ben", why="the network was down")
    assert approvals.answer(context, decision_id, "approved", "ben")["answer"] == "approved"


def test_S3_what_was_approved_and_then_found_unhealthy_is_not_released(context: RunContext) -> None:
    decision_id = _candidate(context, "one", "required")
    release.release(context, "churn")
    approvals.answer(context, decision_id, "approved", "ben")
    context.registry().annotate("churn", 1, {"stopped": "three errors"})
    assert release.release(context, "churn")["says"].startswith(
        "was stopped by the service (three errors)"
    )
    assert context.registry().alias("churn", "champion") is None


def test_S2_a_refused_candidate_leaves_everything_where_it_was(context: RunContext) -> None:
    _candidate(context, "one")
    release.release(context, "churn")
    decision_id = _candidate(context, "two", "required")
    release.release(context, "churn")
    approvals.answer(context, decision_id, "refused", "ben")
    released = release.release(context, "churn")
    assert released["champion"] == 1
    assert "refused by ben" in released["says"]
    assert context.registry().alias("churn", "challenger") is None


def test_E8_a_refusal_is_found_on_the_version_too(context: RunContext) -> None:
    decision_id = _candidate(context, "bad", blur=9.0)
    released = release.release(context, "churn")
    assert released["verdict"] == "refused"
    tags = context.registry().version_tags("churn", released["version"])
    assert (tags["verdict"], tags["decision_id"]) == ("refused", decision_id)
    assert tags["decision"].endswith(f"decision/{decision_id}.json")
    assert read_json(context.path("release_churn.json"))["champion"] is None
