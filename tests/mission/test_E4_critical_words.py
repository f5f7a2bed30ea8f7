"""E4: at the same word error rate, a recogniser that loses negations is refused."""

from evaluation.gates import examples
from tests.judging import judged


def test_E4_refuses_a_recogniser_as_good_on_the_whole_that_loses_every_not():
    champion, candidate = examples.asr(0.3), examples.asr(0.3, deaf_to="not")
    assert abs(candidate.metrics["wer"].value - champion.metrics["wer"].value) < 0.02, "the same word error rate"
    decision = judged(examples.evidence(candidate, champion))
    assert not decision.accepted
    (check,) = [check for check in decision.checks if check.name == "critical_words"]
    assert check.verdict == "fail"
    assert check.metric == "critical_negation"
    assert [look.what for look in check.looks if look.verdict == "fail"] == ["negation"]


def test_E4_refuses_even_a_better_recogniser_that_loses_every_not():
    decision = judged(examples.evidence(examples.asr(0.15, deaf_to="not"), examples.asr(0.3)))
    assert {check.name for check in decision.checks if check.verdict == "fail"} == {"critical_words"}


def test_E4_a_recogniser_better_in_every_class_passes():
    decision = judged(examples.evidence())
    (check,) = [check for check in decision.checks if check.name == "critical_words"]
    assert check.verdict == "pass", check.sentence
    assert {look.what for look in check.looks} >= {"negation", "leaving"}
