"""E10: a refusal for lack of evidence names voices, hours, weeks, and the calls to transcribe."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl

from benchmarks.bench_looks import World, differences
from benchmarks.bench_proof import WORTH, kept_within, stated
from evaluation.gates import examples
from evaluation.gates.evidence import Evidence
from evaluation.gates.proof import Call, Supply, arrivals_a_week, proof_needed
from evaluation.metrics.power import clusters_needed
from evaluation.report.decision import decision_page
from flows.candidate.supply import calls_to_transcribe
from tests.registry_helpers import gate_decision

_BARE: dict[str, Any] = dict.fromkeys(("guardrail", "reading", "churn_on_text", "reader_on_text"))


def _unproven(**params: Any) -> Evidence:
    """A recogniser a little better than the champion, on 12 voices."""
    return examples.evidence(examples.asr(0.28), examples.asr(0.3), **_BARE, **params)


def test_E10_the_predicted_number_is_the_needed_one_within_a_quarter_in_50_simulations() -> None:
    rng, level = np.random.default_rng(1), 0.001
    right = 0
    for _ in range(50):
        pilot = stated(differences(World(), 1, WORTH, rng)[0, 0], WORTH)
        predicted = clusters_needed(pilot, level=level)
        assert predicted is not None
        right += kept_within(pilot, predicted, level=level, rng=rng)
    assert right >= 48  # power is itself simulated, with 300 test sets


def test_E10_a_gain_that_is_not_there_is_proven_by_no_number_of_voices() -> None:
    assert clusters_needed(np.array([-1.0, 1.0, -2.0]), level=0.001) is None
    assert clusters_needed(np.array([-1.0, 1.0, 0.0]), level=0.001) is None
    worse = examples.evidence(examples.asr(0.35), examples.asr(0.3), **_BARE)
    assert gate_decision(worse).record["proof"] is None
    assert gate_decision(examples.evidence()).record["proof"] is None  # it is proven


def test_E10_a_refusal_names_voices_hours_weeks_and_calls() -> None:
    decision = gate_decision(_unproven())
    calls = (Call("c1", ("v90",), 0.1), Call("c2", ("v91",), 0.05), Call("c3", (), 0.2))
    supply = Supply(date(2026, 3, 1), clusters_a_week=2.0, hours=0.6, calls=calls)
    evidence = _unproven()
    proof = proof_needed(evidence, decision.checks, supply)
    assert proof is not None
    assert proof.clusters == 12
    assert proof.clusters_needed > 12
    assert proof.clusters_missing == proof.clusters_needed - 12
    assert proof.hours_missing == round(proof.clusters_missing * 0.6 / 12, 2)
    assert proof.weeks == proof.clusters_missing / 2
    assert (proof.calls_known, proof.clusters_in_calls) == (3, 2)
    for part in (
        f"about {proof.clusters_needed} customers or voices, {proof.clusters_missing} more than it has",
        f"{proof.hours_missing:g} more hours of transcribed speech",
        f"in about {round(proof.weeks)} weeks",
        "3 calls of the test side are not transcribed; they bring 2 new customers or voices",
    ):
        assert part in proof.sentence
    assert "the test set needs about" in decision.record["summary"]
    shown = decision_page({**decision.record, "proof": _as_stored(proof)})
    assert "Calls to transcribe" in shown
    assert "v90" in shown


def _as_stored(proof: Any) -> dict[str, Any]:
    from dataclasses import asdict

    return asdict(proof)


def test_E10_a_worthwhile_gain_is_asked_for_where_the_settings_name_one() -> None:
    small, large = (
        proof_needed(_unproven(worthwhile_gain=gain), gate_decision(_unproven()).checks)
        for gain in (0.02, 0.04)
    )
    assert small is not None
    assert large is not None
    assert large.gain_is == "worthwhile"
    assert 2.5 < small.clusters_needed / large.clusters_needed < 5


def test_E10_a_churn_model_is_told_events_customers_and_when_they_have_matured() -> None:
    evidence = examples.evidence(examples.churn(0.45), examples.churn(0.55, seed=2))
    checks = gate_decision(evidence).checks
    assert any(check.name == "better" and check.verdict == "fail" for check in checks)
    supply = Supply(date(2026, 3, 1), clusters_a_week=10.0, events=100, horizon_days=180)
    proof = proof_needed(evidence, checks, supply)
    assert proof is not None
    assert proof.clusters == 400
    assert proof.events_missing == int(np.ceil(proof.clusters_missing / 4))
    assert proof.weeks is not None
    matured = date(2026, 3, 1) + timedelta(days=7 * proof.clusters_missing / 10 + 180)
    assert proof.matured_on == matured.isoformat()
    assert "more who left" in proof.sentence
    assert f"known on {proof.matured_on}" in proof.sentence
    none_come = proof_needed(evidence, checks, replace(supply, clusters_a_week=0.0))
    assert none_come is not None
    assert "No new customers have come lately" in none_come.sentence


def test_E10_the_rate_counts_who_came_new_in_the_last_weeks() -> None:
    until = datetime(2026, 3, 1, tzinfo=UTC)
    weeks_ago = [60, 50, 40, 12, 10, 8, 1]
    seen = [until - timedelta(weeks=weeks) for weeks in weeks_ago]
    assert arrivals_a_week(seen, until) == 4 / 13
    assert arrivals_a_week(seen[5:], until) == 2 / 8
    assert arrivals_a_week([], until) is None


def test_E10_calls_with_new_voices_come_first() -> None:
    splits = pl.DataFrame(
        [
            ("heard", "C1", "v1", "test"),
            ("old voice", "C1", "v1", "test"),
            ("new, short", "C2", "v2", "test"),
            ("new, long", "C2", "v2", "test"),
            ("another new", "C3", "v3", "test"),
            ("trained on", "C4", "v4", "train"),
            ("unrecorded", "C5", "v5", "test"),
            (None, "C6", None, "test"),
        ],
        schema=["contact_id", "customer_id", "voice_group", "split"],
        orient="row",
    )
    recordings = pl.DataFrame(
        {
            "contact_id": ["heard", "old voice", "new, short", "new, long", "another new"],
            "duration_s": [360.0, 720.0, 36.0, 72.0, 36.0],
        }
    )
    turns = pl.DataFrame({"contact_id": ["heard", "old voice"], "origin": ["person", "asr"]})
    calls = calls_to_transcribe(splits, recordings, turns, known={"v1"})
    assert [(call.contact_id, call.new_clusters) for call in calls] == [
        ("new, long", ("v2",)),
        ("another new", ("v3",)),
        ("new, short", ("v2",)),
        ("old voice", ()),
    ]
    assert calls[0].hours == 0.02
