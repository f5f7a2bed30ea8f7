"""E4: at the same word error rate, a recogniser that loses negations is refused."""

from typing import Any

from evaluation.asr.scorecard import asr_scorecard
from evaluation.gates import examples
from evaluation.gates.checks import critical_words
from evaluation.scorecard import Scorecard
from tests.registry_helpers import gate_decision


def test_E4_refuses_a_recogniser_as_good_on_the_whole_that_loses_every_not() -> None:
    champion, candidate = examples.asr(0.3), examples.asr(0.3, missed_word="not")
    assert abs(candidate.metrics["wer"].value - champion.metrics["wer"].value) < 0.02, (
        "the same word error rate"
    )
    decision = gate_decision(examples.evidence(candidate, champion))
    assert not decision.accepted
    (check,) = [check for check in decision.checks if check.name == "critical_words"]
    assert check.verdict == "fail"
    assert check.metric == "critical_negation"
    assert [
        measurement.what for measurement in check.measurements if measurement.verdict == "fail"
    ] == ["negation"]


def test_E4_refuses_even_a_better_recogniser_that_loses_every_not() -> None:
    decision = gate_decision(
        examples.evidence(examples.asr(0.15, missed_word="not"), examples.asr(0.3))
    )
    assert {check.name for check in decision.checks if check.verdict == "fail"} == {
        "critical_words"
    }


def test_E4_one_word_of_seven_missed_is_chance_and_four_are_not() -> None:
    def missing(words: int) -> Scorecard:
        """Sixty utterances by as many voices, seven of them with a "cancel", the first `words` of which are missed."""
        rows: list[dict[str, Any]] = [
            {
                "text": "please cancel it" if n < 7 else "hello there again",
                "voice": f"v{n}",
                "contact_id": f"k{n}",
                "role": "customer",
                "codec": "PCM_16",
                "start_s": 0.0,
                "duration": 2.0,
            }
            for n in range(60)
        ]
        texts = [
            row["text"].replace("cancel", "can sell") if n < words else row["text"]
            for n, row in enumerate(rows)
        ]
        return asr_scorecard(
            rows,
            texts,
            model="a",
            data_hash="hash",
            seed=7,
            created_at="2026-01-01",
            bundle_sha256="0" * 64,
        )

    def verdict(words: int) -> str:
        evidence = examples.evidence(missing(words), missing(0))
        return critical_words.check(evidence).verdict

    assert [verdict(words) for words in (0, 1, 4, 7)] == [
        "unproven",
        "unproven",
        "fail",
        "fail",
    ]


def test_E4_a_recogniser_better_in_every_class_passes() -> None:
    decision = gate_decision(examples.evidence())
    (check,) = [check for check in decision.checks if check.name == "critical_words"]
    assert check.verdict == "pass", check.sentence
    assert {measurement.what for measurement in check.measurements} >= {"negation", "leaving"}
