"""Puts a candidate through every check and writes down what came of it."""

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
from evaluation.gates import checks as found_here
from evaluation.gates.evidence import Check, Evidence, EvidenceError, Facts, SecondaryTest
from evaluation.gates.params import GateParams
from evaluation.gates.record import Decision, DecisionError
from evaluation.scorecard import Scorecard, ScorecardError
from models.registry.ledger import decision_id


def decide(
    candidate: Scorecard,
    reference: Scorecard | None,
    params: GateParams,
    facts: Facts,
    now: datetime,
    decided_by: str,
    beside: Mapping[str, SecondaryTest] | None = None,
    probes: Sequence[Probe] | None = None,
) -> Decision:
    """Asks every check for the candidate's kind. Accepted only if none failed and none lacked evidence.

    `reference` is the champion, or the base or baseline for a first model; `beside` and `probes` are as in Evidence.
    Raises DecisionError when the two are of different kinds, or when a skip names no check.
    """
    if reference is not None and reference.kind != candidate.kind:
        raise DecisionError(
            f"{candidate.model} is {candidate.kind}, its reference {reference.model} {reference.kind}."
        )
    gate = params.of(candidate.kind)
    beside = dict(beside or {})
    evidence = Evidence(candidate, reference, facts, gate, params.seed, beside, probes)
    modules = [module for module in check_modules() if module.applies(candidate.kind)]
    unknown = sorted(set(gate.skip) - {module.NAME for module in modules})
    if unknown:
        known = ", ".join(module.NAME for module in modules)
        raise DecisionError(f"gate: skip names {unknown[0]}, which is no check. Known: {known}.")
    answers = [_ask(module, evidence) for module in modules]
    accepted = bool(answers) and all(answer.verdict in ("pass", "skipped") for answer in answers)
    record: dict[str, Any] = {
        "format": 2,
        "kind": candidate.kind,
        "verdict": "accepted" if accepted else "refused",
        "summary": _summary(candidate, answers, accepted, gate.looser()),
        "data_hash": candidate.data_hash,
        "candidate": _who(candidate),
        "reference": None if reference is None else _who(reference),
        "reference_is_champion": facts.reference_is_champion,
        "beside": {
            name: {"candidate": _who(two.candidate), "reference": _who(two.reference)}
            for name, two in beside.items()
        },
        "probes": None if probes is None else [asdict(probe) for probe in probes],
        "checks": [asdict(answer) for answer in answers],
        "params": {"seed": params.seed, **asdict(gate), "looser": gate.looser()},
        "facts": {key: value for key, value in asdict(facts).items() if key != "card"},
        "decided_by": decided_by,
        "decided_at": now.isoformat(),
    }
    record = json.loads(json.dumps(record))  # a record in memory is the record that will be read
    return Decision({**record, "decision_id": decision_id(record)})


def check_modules() -> list[ModuleType]:
    """Every module in evaluation/gates/checks, by name."""
    names = sorted(module.name for module in pkgutil.iter_modules(found_here.__path__))
    return [importlib.import_module(f"{found_here.__name__}.{name}") for name in names]


def _ask(module: ModuleType, evidence: Evidence) -> Check:
    reason = evidence.params.skip.get(module.NAME)
    if reason:
        return Check(module.NAME, "skipped", f"Skipped: {reason}", promise=module.PROMISE)
    try:
        answer: Check = module.check(evidence)
    except EvidenceError as error:
        answer = Check(module.NAME, error.verdict, str(error))
    except ScorecardError as error:
        answer = Check(module.NAME, "no_evidence", str(error))
    return replace(answer, promise=module.PROMISE)


def _who(card: Scorecard) -> dict[str, Any]:
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


def _summary(candidate: Scorecard, answers: list[Check], accepted: bool, looser: list[str]) -> str:
    skipped = [answer.name for answer in answers if answer.verdict == "skipped"]
    asides = [f"{', '.join(skipped)} skipped"] if skipped else []
    if looser:
        asides.append(f"{len(looser)} limit{'s' * (len(looser) > 1)} looser than by default")
    aside = f" ({'; '.join(asides)})" if asides else ""
    if accepted:
        return f"{candidate.model} is accepted: {len(answers) - len(skipped)} of {len(answers)} checks passed{aside}."
    failed = [answer.name for answer in answers if answer.verdict == "fail"]
    silent = [answer.name for answer in answers if answer.verdict == "no_evidence"]
    reasons = [f"it failed {', '.join(failed)}"] if failed else []
    reasons += [f"there is no evidence for {', '.join(silent)}"] if silent else []
    return f"{candidate.model} is refused: {' and '.join(reasons)}{aside}."
