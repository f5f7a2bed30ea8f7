"""Runs every gate check on a candidate and writes the results into one decision record."""

from __future__ import annotations

import importlib
import json
import pkgutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from datetime import datetime
from types import ModuleType
from typing import Any

from evaluation.behaviour import Probe
from evaluation.gates import checks as checks_package
from evaluation.gates.evidence import (
    NOT_REFUSING,
    Check,
    Evidence,
    EvidenceError,
    Facts,
    SecondaryTest,
)
from evaluation.gates.looks import Look
from evaluation.gates.params import GateParams
from evaluation.gates.proof import Supply, proof_needed
from evaluation.gates.record import FORMAT, Decision, DecisionError
from evaluation.scorecard import Scorecard, ScorecardError
from models.kinds import kind_of
from models.registry.ledger import decision_id


def decide(
    candidate: Scorecard,
    reference: Scorecard | None,
    *,
    params: GateParams,
    facts: Facts,
    now: datetime,
    decided_by: str,
    secondary: Mapping[str, SecondaryTest] | None = None,
    probes: Sequence[Probe] | None = None,
    look: Look | None = None,
    supply: Supply = Supply(),
) -> Decision:
    """Runs the checks of the candidate's kind; accepted only if none failed or lacked evidence.

    What is unproven refuses only where `required_proof` or `required_critical` asks for proof; the
    summary states it.

    `reference` is the champion, or the base or baseline for a first model; `secondary` and `probes`
    are as in Evidence, and so is `look`. `supply` is where further test data may come from, for a
    refusal that lacks evidence. Raises DecisionError when the two are of different kinds, or when a skip
    names no check.
    """
    if reference is not None and reference.kind != candidate.kind:
        raise DecisionError(
            f"{candidate.model} is {candidate.kind}, its reference {reference.model} "
            f"{reference.kind}."
        )
    gate = params.of(candidate.kind)
    secondary = dict(secondary or {})
    evidence = Evidence(candidate, reference, facts, gate, params.seed, secondary, probes, look)
    modules = [module for module in check_modules() if module.applies(candidate.kind)]
    names = ", ".join(module.NAME for module in modules)
    for setting, named in (("skip", gate.skip), ("required_proof", gate.required_proof)):
        unknown = sorted(set(named) - {module.NAME for module in modules})
        if unknown:
            raise DecisionError(
                f"gate: {setting} names {unknown[0]}, which is no check. Known: {names}."
            )
    results = [_run_check(module, evidence) for module in modules]
    accepted = bool(results) and all(result.verdict in NOT_REFUSING for result in results)
    relaxed = gate.relaxed_limits()
    proof = None if accepted else proof_needed(evidence, results, supply)
    record: dict[str, Any] = {
        "format": FORMAT,
        "kind": candidate.kind,
        "verdict": "accepted" if accepted else "refused",
        "summary": _summary(
            candidate, results, accepted=accepted, relaxed=relaxed, left_out=facts.left_out
        ),
        "unproven": [what for result in results for what in result.unproven],
        "data_hash": candidate.data_hash,
        "candidate": _scored(candidate),
        "reference": None if reference is None else _scored(reference),
        "reference_is_champion": facts.reference_is_champion,
        "secondary": {
            name: {"candidate": _scored(test.candidate), "reference": _scored(test.reference)}
            for name, test in secondary.items()
        },
        "probes": None if probes is None else [asdict(probe) for probe in probes],
        "checks": [asdict(result) for result in results],
        "look": None if look is None else _look(look, candidate.kind),
        "proof": None if proof is None else asdict(proof),
        "params": {"seed": params.seed, **asdict(gate), "relaxed_limits": relaxed},
        "facts": {key: value for key, value in asdict(facts).items() if key != "card"},
        "decided_by": decided_by,
        "decided_at": now.isoformat(),
    }
    if proof:
        record["summary"] += f" {proof.sentence}"
    # Through JSON and back (tuples become lists), so that the record in memory equals the one read.
    record = json.loads(json.dumps(record))
    return Decision({**record, "decision_id": decision_id(record)})


def check_modules() -> list[ModuleType]:
    """Returns every module of evaluation/gates/checks, in order of name."""
    names = sorted(module.name for module in pkgutil.iter_modules(checks_package.__path__))
    return [importlib.import_module(f"{checks_package.__name__}.{name}") for name in names]


def _run_check(module: ModuleType, evidence: Evidence) -> Check:
    """Returns the module's check, or its skip; missing or foreign evidence becomes a verdict."""
    reason = evidence.params.skip.get(module.NAME)
    if reason:
        return Check(module.NAME, "skipped", f"Skipped: {reason}", promise=module.PROMISE)
    try:
        result: Check = module.check(evidence)
    except EvidenceError as error:
        result = Check(module.NAME, error.verdict, str(error))
    except ScorecardError as error:
        result = Check(module.NAME, "no_evidence", str(error))
    if result.verdict == "unproven" and module.NAME in evidence.params.required_proof:
        sentence = f"{result.sentence} The gate's settings require proof of this check."
        result = replace(result, verdict="no_evidence", sentence=sentence)
    return replace(result, promise=module.PROMISE)


def _scored(card: Scorecard) -> dict[str, Any]:
    """Returns what the record keeps of a scorecard: model, bundle, data and metrics, no units."""
    return {
        "model": card.model,
        "bundle_sha256": card.bundle_sha256,
        "data_hash": card.data_hash,
        "scored_at": card.created_at,
        "metrics": {name: asdict(estimate) for name, estimate in card.metrics.items()},
        "conditions": {
            name: {metric: asdict(estimate) for metric, estimate in metrics.items()}
            for name, metrics in card.conditions.items()
        },
    }


def _look(look: Look, kind: str) -> dict[str, Any]:
    """Returns what the record says of the look, with the sentences for people."""
    noun = kind_of(kind).cluster_title
    return {**asdict(look), "sentence": look.sentence(noun), "restored_by": look.restored(noun)}


def _summary(
    candidate: Scorecard,
    results: Sequence[Check],
    *,
    accepted: bool,
    relaxed: Sequence[str],
    left_out: Mapping[str, Any] | None = None,
) -> str:
    """Returns the verdict in one sentence, with the checks that decided it and what is unproven."""
    skipped = [result.name for result in results if result.verdict == "skipped"]
    remarks = [f"{', '.join(skipped)} skipped"] if skipped else []
    if relaxed:
        remarks.append(f"{len(relaxed)} limit{'s' * (len(relaxed) > 1)} looser than by default")
    if left_out and left_out["units"]:
        remarks.append(f"{left_out['share']:.1%} of the test left out, learned from before")
    remark = f" ({'; '.join(remarks)})" if remarks else ""
    unproven = [what for result in results for what in result.unproven]
    open_points = f"; unproven: {', '.join(unproven)}" if unproven else ""
    if accepted:
        passed = sum(result.verdict == "pass" for result in results)
        return (
            f"{candidate.model} is accepted: {passed} of {len(results)} checks "
            f"passed{remark}{open_points}."
        )
    failed = [result.name for result in results if result.verdict == "fail"]
    missing = [result.name for result in results if result.verdict == "no_evidence"]
    reasons = [f"it failed {', '.join(failed)}"] if failed else []
    reasons += [f"there is no evidence for {', '.join(missing)}"] if missing else []
    return f"{candidate.model} is refused: {' and '.join(reasons)}{remark}{open_points}."
