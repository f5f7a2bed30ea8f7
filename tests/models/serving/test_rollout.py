"""A canary gets its share of keys, a trial stops an unhealthy challenger, answers are compared."""

from __future__ import annotations

import pytest

from data.speech.transcripts import TranscriptTurn, Word
from models.serving.rollout import Rollout, Trial, disagreement, falls_to_challenger


def turn(*words: str) -> TranscriptTurn:
    return TranscriptTurn(
        "customer", 0.0, 1.0, " ".join(words), 1.0, [Word(w, 0, 1, 1) for w in words]
    )


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 1.0])
def test_a_canary_gets_its_share_of_keys_and_always_the_same_ones(share: float) -> None:
    keys = [f"customer {number}" for number in range(2000)]
    chosen = [falls_to_challenger(key, "salt", share) for key in keys]
    assert sum(chosen) / len(keys) == pytest.approx(share, abs=0.04)
    assert chosen == [falls_to_challenger(key, "salt", share) for key in keys]
    if 0 < share < 1:
        assert chosen != [falls_to_challenger(key, "another salt", share) for key in keys]


def test_one_error_too_many_stops_a_trial_for_good() -> None:
    trial = Trial(Rollout("canary", max_errors=2, window=10))
    for _ in range(2):
        trial.record_error(ValueError("secret"))
    assert trial.stopped is None
    trial.record_error(ValueError("secret"))
    assert trial.stopped == "3 of its last 3 answers failed (ValueError)"
    assert not trial.reported
    for _ in range(30):
        trial.record_answer("challenger", 0.001)
    assert trial.stopped == "3 of its last 3 answers failed (ValueError)"


def test_old_errors_leave_the_window() -> None:
    trial = Trial(Rollout("canary", max_errors=1, window=3))
    for _ in range(5):
        trial.record_error(ValueError())
        trial.record_answer("challenger", 0.001)
        trial.record_answer("challenger", 0.001)
    assert trial.stopped is None


@pytest.mark.parametrize(("seconds", "is_stopped"), [(0.1, False), (0.4, True)])
def test_a_challenger_much_slower_than_the_champion_is_stopped(
    seconds: float, is_stopped: bool
) -> None:
    trial = Trial(Rollout("canary", min_answers=5, max_slowdown=3.0, slack_s=0.02))
    for _ in range(5):
        trial.record_answer("champion", 0.1)
        trial.record_answer("challenger", seconds)
    assert (trial.stopped is not None) == is_stopped


def test_a_trial_stopped_before_is_known_to_the_registry() -> None:
    trial = Trial(Rollout("canary"), "too slow")
    assert (trial.stopped, trial.reported) == ("too slow", True)


def test_risks_disagree_by_their_largest_difference_and_calls_by_their_words() -> None:
    given = [{"risk_30": 0.1, "risk_90": 0.2}, {"risk_30": 0.5, "risk_90": 0.6}]
    shadow = [{"risk_30": 0.1, "risk_90": 0.25}, {"risk_30": 0.4, "risk_90": 0.6}]
    assert disagreement("churn", given, shadow) == pytest.approx(0.1)
    assert disagreement("churn", [], []) == 0.0
    assert disagreement("asr", [turn("no", "milk")], [turn("no", "milk")]) == 0.0
    assert disagreement("asr", [turn("no", "milk")], [turn("no", "silk")]) == pytest.approx(0.5)
