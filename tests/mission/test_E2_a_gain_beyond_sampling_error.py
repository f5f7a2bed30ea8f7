"""E2: a gain counts only beyond sampling error, with whole voices and customers drawn, never single units."""

from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest

from evaluation.asr.scorecard import asr_scorecard
from evaluation.gates import examples
from evaluation.gates.checks import better
from evaluation.gates.evidence import Check
from evaluation.gates.params import AsrGate
from evaluation.gates.record import Decision
from evaluation.scorecard import Ratio, Scorecard, gain
from tests.registry_helpers import NOW, gate_decision
from tests.typing_helpers import known


def _decide(candidate: Scorecard, reference: Scorecard) -> Decision:
    return gate_decision(
        examples.evidence(candidate, reference, facts={"reference_is_champion": True})
    )


def _better(decision: Decision) -> Check:
    (check,) = [check for check in decision.checks if check.name == "better"]
    return check


def test_E2_refuses_recognisers_that_were_only_lucky() -> None:
    champion = examples.asr(0.3)
    wer = champion.metrics["wer"].value
    lucky = [
        card
        for seed in range(2, 42)
        if (card := examples.asr(0.3, seed=seed)).metrics["wer"].value < wer
    ]
    assert len(lucky) >= 10
    refused = [not _decide(card, champion).accepted for card in lucky]
    assert sum(refused) >= len(refused) - 2  # one in forty may slip through a 95 % interval


def test_E2_of_200_recognisers_no_better_than_the_champion_no_more_pass_than_stated() -> None:
    """Twelve voices of 20 utterances, some hard; candidate and champion have the same error rate and fresh luck."""
    passed, level = 0, 1 - AsrGate().level
    voice = np.arange(240) % 12
    for seed in range(200):
        rng = np.random.default_rng(seed)
        rate = np.clip(0.3 + rng.normal(0, 0.05, 12)[voice], 0, 1)
        units = pl.DataFrame(
            {
                "unit": [f"u{n:03}" for n in range(240)],
                "cluster": [f"v{v}" for v in voice],
                "words": [10] * 240,
            }
        )
        candidate, champion = (
            _null(units.with_columns(errors=rng.binomial(10, rate))) for _ in range(2)
        )
        passed += (
            better.check(
                replace(examples.evidence(candidate, champion, **_BARE), seed=seed)
            ).verdict
            == "pass"
        )
    assert passed <= level * 200


_BARE: dict[str, Any] = {
    "guardrail": None,
    "reading": None,
    "churn_on_text": None,
    "reader_on_text": None,
}  # better asks for none


def _null(units: pl.DataFrame) -> Scorecard:
    return Scorecard(
        "asr", "null", "d1", NOW.isoformat(), {}, {"wer": Ratio("errors", "words")}, units
    )


def test_E2_refuses_churn_models_that_were_only_lucky() -> None:
    pairs = [
        (examples.churn(0.5, seed=2 * n), examples.churn(0.5, seed=2 * n + 1)) for n in range(1, 6)
    ]
    assert any(
        first.metrics["brier"].value < second.metrics["brier"].value for first, second in pairs
    )
    passed = [
        first.model for first, second in pairs if _better(_decide(first, second)).verdict == "pass"
    ]
    assert len(passed) <= 1  # one in forty is promised; benchmarks/bench_gates.py counts a thousand


@pytest.mark.parametrize(
    ("candidate", "reference"),
    [(examples.asr(0.25), examples.asr(0.3)), (examples.churn(0.3), examples.churn(1.2))],
    ids=["asr", "churn"],
)
def test_E2_accepts_a_real_gain(candidate: Scorecard, reference: Scorecard) -> None:
    decision = _decide(candidate, reference)
    assert decision.accepted, decision.record["summary"]
    assert known(_better(decision).low) > 0


def _card(name: str, gain_on: set[str]) -> Scorecard:
    """Eight voices of 60 utterances, half of the words wrong; all right for the voices in `gain_on`."""
    rows, texts = [], []
    for n in range(480):
        voice = f"v{n % 8}"
        rows.append(
            {
                "text": "yes no",
                "contact_id": f"call-{n}",
                "voice": voice,
                "start_s": 0.0,
                "role": "customer",
            }
        )
        texts.append("yes no" if voice in gain_on else "yes um")
    return asr_scorecard(
        rows,
        texts,
        model=name,
        data_hash="d1",
        seed=0,
        created_at=NOW.isoformat(),
        bundle_sha256=name,
    )


def test_E2_refuses_a_gain_on_one_voice_that_single_utterances_would_call_certain() -> None:
    champion, candidate = _card("champion", set()), _card("candidate", {"v3"})
    alone = replace(candidate, units=candidate.units.with_columns(pl.col("unit").alias("cluster")))
    unpaired = replace(champion, units=champion.units.with_columns(pl.col("unit").alias("cluster")))
    assert known(gain(alone, unpaired, "wer", seed=0).low) > 0
    answer = _better(_decide(candidate, champion))
    assert answer.verdict == "fail"
    assert answer.estimate == pytest.approx(1 / 16)


def test_E2_needs_enough_voices_to_say_anything() -> None:
    candidate, champion = examples.asr(0.1, voices=4), examples.asr(0.4, voices=4)
    decision = _decide(candidate, champion)
    assert not decision.accepted
    assert "no evidence for enough_evidence" in decision.record["summary"]
