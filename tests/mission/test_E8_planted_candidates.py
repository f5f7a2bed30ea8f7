"""E1 to E8 together: each planted candidate is refused for its own reason and moves nothing; a better one passes."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from data.files import read_json, write_json
from evaluation.gates import examples
from evaluation.gates.evidence import NOT_REFUSING
from evaluation.gates.params import ChurnGate, GateParams
from evaluation.scorecard import Scorecard
from flows.candidate import active_model, release, scorecards
from flows.candidate import decision as candidate_decision
from flows.runtime.context import RunContext
from flows.runtime.params import Params
from flows.runtime.settings import from_environment
from flows.stages import churn
from models.registry.registry import PromotionRefusedError
from tests.registry_helpers import NOW, RegistryFixture, gate_decision
from tests.service_helpers import ROW, a_churn_bundle

# What is planted: the evidence, and the checks that find it out, and no others. None: it is really better.
RECOGNISERS: dict[str, tuple[Callable[[], dict[str, Any]], set[str] | None]] = {
    "a gain by luck": (lambda: {"candidate": examples.asr(0.3, seed=25)}, {"better"}),
    "agents heard worse": (
        lambda: {"candidate": examples.asr(0.05, hidden=("agent", 0.42))},
        {"slices"},
    ),
    "every 'not' lost": (
        lambda: {"candidate": examples.asr(0.15, missed_word="not")},
        {"critical_words"},
    ),
    "fewer word errors, worse churn": (lambda: {"churn_on_text": (1.5, 0.2)}, {"downstream"}),
    "worse on general speech": (lambda: {"guardrail": (0.4, 0.3)}, {"guardrail"}),
    "really better": (dict, None),
}
CHURN: dict[str, tuple[Callable[[], tuple[Scorecard, Scorecard]], set[str] | None]] = {
    "a gain by luck": (
        lambda: (examples.churn(0.5, seed=2), examples.churn(0.5)),
        {"better", "long_horizon"},
    ),
    "the north seen worse": (
        lambda: (examples.churn(0.02, hidden=("north", 9.0)), examples.churn(3.5)),
        {"slices", "calibration"},
    ),
    "180 days paid for 30": (
        lambda: (examples.churn(0.05, long_blur=4.0), examples.churn(1.2)),
        {"long_horizon", "calibration"},
    ),
    "far too sure": (
        lambda: (examples.churn(0.1, overconfidence=2.5), examples.churn(6.0)),
        {"calibration"},
    ),
    # What is in a bundle that does not verify is not looked at.
    "tampered with": (
        lambda: (examples.churn(0.1), examples.churn(1.5)),
        {"same_bundle", "card_and_licence", "size_and_latency"},
    ),
    "probed before it was trained again": (
        lambda: (examples.churn(0.1), examples.churn(1.5)),
        {"behaviour"},
    ),
    "really better": (lambda: (examples.churn(0.1), examples.churn(1.5)), None),
}


@pytest.mark.parametrize("what", RECOGNISERS)
def test_E8_a_planted_recogniser_is_refused_for_its_reason_and_a_better_one_promoted(
    tmp_path: Path, what: str
) -> None:
    planted, reasons = RECOGNISERS[what]
    shop, changes = RegistryFixture(tmp_path), planted()
    version, sha = shop.version(what, "asr")
    candidate = dataclasses.replace(changes.pop("candidate", examples.asr(0.1)), bundle_sha256=sha)
    decision = gate_decision(examples.evidence(candidate, **changes))
    verdicts = {check.name: check.verdict for check in decision.checks}
    if reasons is None:
        assert decision.accepted, decision.record["summary"]
        shop.registry.promote(
            "asr", version, expected=None, decision=decision.record, actor="schedule", now=NOW
        )
        assert shop.registry.alias("asr", "champion") == version
        return
    refusing = {name for name, verdict in verdicts.items() if verdict not in NOT_REFUSING}
    assert refusing == reasons
    with pytest.raises(PromotionRefusedError, match="refused it"):
        shop.registry.promote(
            "asr", version, expected=None, decision=decision.record, actor="schedule", now=NOW
        )
    assert shop.registry.alias("asr", "champion") is None


def _context(folder: Path, short_metric: bool) -> RunContext:
    """A store with a trained candidate, as the stages before the gate leave it."""
    shop = RegistryFixture(folder)
    bundle = a_churn_bundle(folder / "churn" / "bundle")
    # Each fault is to be found by its own check: the floor and simple models would find some, too.
    alone = "a planted fault alone"
    gate = ChurnGate(
        metric="brier_30" if short_metric else "brier",
        floors={"scaled_brier": -9.0},
        relaxation_reason=alone,
        skip={"simple_models": alone},
    )
    write_json(
        folder / "train_churn.json",
        {"run_id": shop.run_id, "bundle_sha256": bundle.sha256, "trained_by": "a"},
    )
    write_json(folder / "validate.json", {"stopped": None, "rejected": 0})
    write_json(
        folder / "reference/churn.json",
        {"model": "life table", "path": None, "version": None, "bundle_sha256": ""},
    )
    write_json(folder / "probe_churn.json", {})
    write_json(folder / "scorecards/churn/next_quarter.json", {"says": "A history of two months."})
    probes = [dataclasses.asdict(probe) for probe in examples.good_probes("churn")]
    write_json(
        folder / "probes/churn/probes.json", {"bundle_sha256": bundle.sha256, "probes": probes}
    )
    return RunContext(
        from_environment({"KEEPLINE_ACTOR": "schedule"}, folder),
        Params(gates=GateParams(churn=gate)),
        "c",
    )


@pytest.mark.parametrize("what", CHURN)
def test_E8_a_planted_churn_model_is_refused_by_the_steps_and_a_better_one_promoted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    planted, reasons = CHURN[what]
    context = _context(tmp_path, what == "180 days paid for 30")
    sha = scorecards.model_checksum(context, "churn", "candidate")
    for role, card in zip(("candidate", "reference"), planted(), strict=True):
        named = dataclasses.replace(card, bundle_sha256=sha if role == "candidate" else "")
        named.save(context.path(f"scorecards/churn/{role}.json"))
    if what == "probed before it was trained again":
        probed = read_json(context.path("probes/churn/probes.json"))
        write_json(context.path("probes/churn/probes.json"), {**probed, "bundle_sha256": "0" * 64})
    if what == "tampered with":
        weights = context.path("churn/bundle/weights.safetensors")
        content = bytearray(weights.read_bytes())
        content[-1] ^= 1
        weights.write_bytes(content)
    monkeypatch.setattr(churn, "smoke_sample", lambda context: {"rows": [ROW]})
    decided = candidate_decision.decide(context, "churn")
    record = read_json(context.path("decisions/churn") / decided["record"])
    failed = {check["name"] for check in record["checks"] if check["verdict"] not in NOT_REFUSING}
    released = release.release(context, "churn")
    if reasons is None:
        assert decided["verdict"] == "accepted", decided["summary"]
        assert released["champion"] == released["version"] == 1
        return
    assert decided["verdict"] == "refused"
    assert failed == reasons  # luck aside, each would have been promoted by its average
    assert released["champion"] is None
    assert context.registry().ledger() == []
    assert active_model.write_active_model(context, "churn")["path"] is None
