"""E6: a gain at 30 days may not cost 180."""

from evaluation.gates import examples
from evaluation.scorecard import gain
from tests.registry_helpers import gate_decision
from tests.typing_helpers import known


def test_E6_refuses_a_gain_at_30_days_that_costs_180() -> None:
    champion, candidate = examples.churn(0.8), examples.churn(0.05, long_blur=4.0)
    assert known(gain(candidate, champion, "brier_30", seed=0).low) > 0, "it is better at 30 days"
    assert known(gain(candidate, champion, "brier_180", seed=0).high) < 0, "and worse at 180"
    decision = gate_decision(examples.evidence(candidate, champion, metric="brier_30"))
    (better,) = [check for check in decision.checks if check.name == "better"]
    assert better.verdict == "pass", "by its short metric alone it would be promoted"
    assert not decision.accepted
    (check,) = [check for check in decision.checks if check.name == "long_horizon"]
    assert check.verdict == "fail"
    assert "180 days" in check.sentence


def test_E6_accepts_a_gain_at_every_horizon() -> None:
    assert gate_decision(examples.evidence(examples.churn(0.1), examples.churn(1.5))).accepted


def test_E6_needs_outcomes_that_have_matured() -> None:
    short = {"horizons": (30, 90)}
    decision = gate_decision(
        examples.evidence(examples.churn(0.1, **short), examples.churn(1.5, **short))
    )
    (check,) = [check for check in decision.checks if check.name == "long_horizon"]
    assert check.verdict == "no_evidence"
    assert not decision.accepted
