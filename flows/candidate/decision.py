"""Puts a candidate through the gate and writes the decision record."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from data import artefacts
from data.files import read_json, write_json
from flows.candidate.kind_stages import stages_of
from flows.candidate.runs import reopened
from models.registry.bundle import BundleError, verify_bundle

if TYPE_CHECKING:
    from evaluation.gates.evidence import Facts
    from evaluation.scorecard import Scorecard
    from flows.runtime.context import RunContext


def decide(context: RunContext, kind: str) -> dict[str, Any]:
    """Smoke-tests the candidate, asks every gate and returns the summary of the decision.

    Counts the look at the test set first. Writes the decision record with its page, what a refusal
    still needs (proof_<kind>.json), and decide_<kind>.json.
    """
    from evaluation.gates.decide import decide
    from evaluation.report.decision import write_decision
    from evaluation.scorecard import load
    from flows.candidate.looks import count_look, name_decision
    from flows.candidate.probes import load_probes
    from flows.candidate.supply import supply_of, write_supply

    folder = context.path(artefacts.SCORECARDS.of(kind))
    secondary, probes, probed_sha256 = load_probes(context, kind)
    candidate, reference = load(folder / "candidate.json"), load(folder / "reference.json")
    facts = _collect_facts(context, kind, probed_sha256, candidate)
    supply = supply_of(context, kind, candidate)
    look = count_look(context, kind, candidate, reference)
    decision = decide(
        candidate,
        reference,
        params=context.params.gates,
        facts=facts,
        now=context.now(),
        decided_by=f"gate, for {context.settings.actor}",
        secondary=secondary,
        probes=probes,
        look=look,
        supply=supply,
    )
    record, page = write_decision(decision, context.path(artefacts.DECISIONS.of(kind)))
    if look is not None:
        name_decision(context, kind, decision.decision_id, (candidate, reference))
    write_supply(context, kind, decision, supply)
    with reopened(context, kind) as run:
        run.set_tags({"decision": decision.decision_id, "verdict": decision.record["verdict"]})
        run.log_artifact(record, "decision")
        run.log_artifact(page, "decision")
    summary = {
        "decision_id": decision.decision_id,
        "verdict": decision.record["verdict"],
        "summary": decision.record["summary"],
        "unproven": decision.record["unproven"],
        "record": record.name,
        "approval": context.params.gates.of(kind).approval,
        "candidate": candidate.bundle_sha256,
        "reference": read_json(context.path(artefacts.REFERENCE.of(kind))),
    }
    write_json(context.path(artefacts.DECIDE.of(kind)), summary)
    return summary


def _collect_facts(
    context: RunContext, kind: str, probed_sha256: str, candidate: Scorecard
) -> Facts:
    """What the gates ask beside scorecards: data contract, bundle, smoke test, text readers."""
    from evaluation.gates.evidence import Facts
    from flows.candidate.learned import seen_units
    from flows.candidate.probes import checksums, text_readers, text_readers_of

    contract = read_json(context.path(artefacts.VALIDATE))
    reference = read_json(context.path(artefacts.REFERENCE.of(kind)))
    probe_summary = read_json(context.path(artefacts.PROBE.of(kind)))
    quarter = context.path(artefacts.SCORECARDS.of(kind).within("next_quarter.json"))
    facts = Facts(
        reference_is_champion=reference["version"] is not None,
        contract_ok=contract["stopped"] is None,
        contract_says=contract["stopped"]
        or f"{contract['rejected']} rows in quarantine, the rest kept the contract",
        read_by=probe_summary.get("read_by"),
        readers_now=checksums(text_readers(context, kind)) if text_readers_of(kind) else None,
        probed_sha256=probed_sha256,
        next_quarter_says=read_json(quarter)["says"] if quarter.exists() else "",
        trained_by=read_json(context.path(artefacts.TRAIN.of(kind))).get("trained_by", ""),
        seen_units=seen_units(context, kind, candidate.units),
        left_out=candidate.facts.get("left_out"),
    )
    try:
        bundle = verify_bundle(context.path(artefacts.BUNDLE.of(kind)), context.settings.public_key)
    except BundleError as error:
        # A refusal to be written down, not an accident.
        return replace(facts, bundle_says=str(error))
    smoke = stages_of(kind).smoke_test(context, bundle.path)
    return replace(
        facts,
        card=(bundle.path / "card.md").read_text(encoding="utf-8"),
        licence=bundle.licence,
        size_bytes=bundle.size_bytes,
        bundle_sha256=bundle.sha256,
        smoke_ok=smoke["ok"],
        latency_s=smoke["latency_s"],
    )
