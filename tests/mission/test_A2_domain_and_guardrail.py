"""A2: better on the domain and worse on general speech than a limit is refused."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from evaluation.asr.test_sets import evaluate, load_test_sets
from evaluation.gates import examples
from evaluation.gates.evidence import Check, SecondaryTest
from evaluation.gates.record import Decision
from evaluation.params import EvaluationParams
from evaluation.scorecard import Scorecard, gain, load
from tests.registry_helpers import gate_decision
from tests.speech_helpers import a_manifest
from training.asr.finetune import AsrTraining, finetune
from training.asr.speech import Augmentation
from training.tracking import start_or_resume

BASE = Path(__file__).resolve().parents[2] / "models" / "base" / "keepline-base.nemo"
NOW = datetime(2026, 3, 1, tzinfo=UTC)
Cards = dict[str, dict[str, Scorecard]]


@pytest.fixture(scope="module")
def cards(tmp_path_factory: pytest.TempPathFactory) -> Cards:
    """The base, and the base after a hasty training on ten words: both on those words and on general speech."""
    folder = tmp_path_factory.mktemp("A2")
    train, valid = (
        a_manifest(folder / "train.jsonl", 60, seed=1),
        a_manifest(folder / "valid.jsonl", 8, seed=2),
    )
    test = a_manifest(folder / "test.jsonl", 32, seed=3)
    params = AsrTraining(
        steps=40,
        batch_duration_s=12.0,
        learning_rate=3e-3,
        warmup_steps=5,
        valid_steps=40,
        checkpoint_steps=40,
        threads=1,
        average_share=0.0,
        augmentation=Augmentation(telephone_share=0.0, noise_share=0.0),
    )
    with start_or_resume(f"sqlite:///{folder / 'mlflow.db'}", "A2", "hasty", params={}) as run:
        finetune(
            params,
            BASE,
            train_manifest=train,
            valid_manifest=valid,
            work_dir=folder / "work",
            run=run,
        )
    asked = EvaluationParams(conditions=(), guardrail_s=60.0, critical_sentence_words=0)
    parts = load_test_sets(test, asked)
    models = {"reference": BASE, "candidate": folder / "work" / "model.nemo"}
    cards_by_role = {
        role: evaluate(
            path, parts, name=role, bundle_sha256=f"sha of {role}", params=asked, now=NOW
        )
        for role, path in models.items()
    }
    for role, of_role in cards_by_role.items():
        for part, card in of_role.items():
            card.save(folder / part / f"{role}.json")
    return {
        role: {part: load(folder / part / f"{role}.json") for part in of_role}
        for role, of_role in cards_by_role.items()
    }


def verdict(cards: Cards, guardrail: tuple[str, str]) -> tuple[Decision, Check]:
    """The gate on the trained model against the base, with the general speech of the two roles named."""
    candidate, reference = cards["candidate"]["test"], cards["reference"]["test"]
    shas = (candidate.bundle_sha256, reference.bundle_sha256)
    guardrail_test = SecondaryTest(
        *(
            replace(cards[role]["guardrail"], bundle_sha256=sha)
            for role, sha in zip(guardrail, shas, strict=True)
        )
    )
    evidence = examples.evidence(
        candidate,
        reference,
        min_units=10,
        min_clusters=3,
        floors={"wer": 3.0},
        relaxation_reason="few voices",
    )
    evidence = replace(evidence, secondary={**evidence.secondary, "guardrail": guardrail_test})
    decision = gate_decision(evidence)
    return decision, next(check for check in decision.checks if check.name == "guardrail")


def test_A2_both_models_heard_the_same_domain_and_the_same_general_speech(cards: Cards) -> None:
    for part in ("test", "guardrail"):
        candidate, reference = cards["candidate"][part], cards["reference"][part]
        assert candidate.data_hash == reference.data_hash != ""
        assert candidate.units["unit"].to_list() == reference.units["unit"].to_list()
        assert candidate.units["cluster"].n_unique() >= 4
    assert cards["candidate"]["test"].data_hash != cards["candidate"]["guardrail"].data_hash


def test_A2_domain_better_guardrail_worse_is_refused(cards: Cards) -> None:
    domain = gain(cards["candidate"]["test"], cards["reference"]["test"], "wer", seed=0)
    general = gain(cards["candidate"]["guardrail"], cards["reference"]["guardrail"], "wer", seed=0)
    assert domain.low is not None
    assert domain.low > 0, "the training did teach the domain"
    assert general.high is not None
    assert general.high < -0.03, "and it did cost general speech"
    decision, check = verdict(cards, ("candidate", "reference"))
    assert not decision.accepted
    assert check.verdict == "fail", check.sentence
    assert check.high is not None
    assert check.high < -0.03


def test_A2_a_candidate_that_kept_general_speech_passes_this_check(cards: Cards) -> None:
    _, check = verdict(cards, ("reference", "reference"))
    assert check.verdict == "pass", check.sentence
