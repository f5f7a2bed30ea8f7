"""E3: a hidden slice regression is refused, and having looked at many slices does not make one up."""

from datetime import UTC, datetime

import numpy as np
import pytest

from data.records import Contact, Customer, Recording, frame
from data.speech.utterances import SLICE_COLUMNS, recordings_with_slices
from evaluation.asr.scorecard import asr_scorecard
from evaluation.gates import examples
from evaluation.gates.evidence import Check
from evaluation.gates.record import Decision
from evaluation.scorecard import Scorecard
from evaluation.slices import slice_gains
from tests.registry_helpers import NOW, gate_decision


def _slices(decision: Decision) -> Check:
    (check,) = [check for check in decision.checks if check.name == "slices"]
    return check


def test_E3_refuses_a_better_recogniser_that_hears_agents_worse() -> None:
    decision = gate_decision(
        examples.evidence(examples.asr(0.05, hidden=("agent", 0.42)), examples.asr(0.3))
    )
    (better,) = [check for check in decision.checks if check.name == "better"]
    assert better.verdict == "pass", "on the whole it is better"
    assert not decision.accepted
    check = _slices(decision)
    assert check.verdict == "fail"
    assert "role agent" in check.sentence
    assert {
        measurement.what for measurement in check.measurements if measurement.verdict == "fail"
    } == {"role agent"}


def test_E3_refuses_a_better_churn_model_that_fails_in_one_region() -> None:
    decision = gate_decision(
        examples.evidence(examples.churn(0.1, hidden=("north", 6.0)), examples.churn(1.5))
    )
    assert not decision.accepted
    assert "region north" in _slices(decision).sentence


def _many_slices(rate: float, seed: int, queues: int = 12) -> Scorecard:
    """A test set of twelve queues with six voices each, all equally hard, heard with `rate` errors."""
    rng = np.random.default_rng(seed)
    rows, hypotheses = [], []
    for n in range(queues * 6 * 4):
        rows.append(
            {
                "text": " ".join(["yes"] * 10),
                "contact_id": f"c{n}",
                "voice": f"v{n % (queues * 6)}",
                "start_s": 0.0,
                "role": "customer",
                "queue": f"queue {n % queues:02d}",
            }
        )
        hypotheses.append(" ".join(np.where(rng.random(10) < rate, "well", "yes")))
    return asr_scorecard(
        rows, hypotheses, model=f"{rate}-{seed}", data_hash="d1", seed=0, created_at=NOW.isoformat()
    )


@pytest.mark.parametrize(
    ("by", "values"), [("load", ("peak", "off-peak")), ("region", ("north", "south"))]
)
def test_E3_refuses_a_better_recogniser_that_hears_callers_at_peak_load_or_in_one_region_worse(
    by: str, values: tuple[str, str]
) -> None:
    """Six voices on the first side, where the candidate is worse, and eighteen where it is nearly perfect."""
    cards = []
    for name, rates in (("candidate", (0.4, 0.02)), ("champion", (0.25, 0.25))):
        rng, rows, hypotheses = np.random.default_rng(5), [], []
        for n in range(480):
            side = int(n % 24 >= 6)
            rows.append(
                {
                    "text": " ".join(["yes"] * 10),
                    "contact_id": f"c{n}",
                    "voice": f"v{n % 24}",
                    "start_s": 0.0,
                    "role": "customer",
                    by: values[side],
                }
            )
            hypotheses.append(" ".join(np.where(rng.random(10) < rates[side], "well", "yes")))
        cards.append(
            asr_scorecard(
                rows,
                hypotheses,
                model=name,
                data_hash="d1",
                seed=0,
                created_at=NOW.isoformat(),
                bundle_sha256=name,
            )
        )
    decision = gate_decision(examples.evidence(*cards))
    (better,) = [check for check in decision.checks if check.name == "better"]
    assert better.verdict == "pass", "on the whole it is better"
    assert not decision.accepted
    failed = {
        measurement.what
        for measurement in _slices(decision).measurements
        if measurement.verdict == "fail"
    }
    assert f"{by} {values[0]}" in failed
    assert f"{by} {values[1]}" not in failed


def test_E3_a_test_utterance_knows_its_region_and_whether_the_centre_was_busy() -> None:
    at = datetime(2026, 3, 1, tzinfo=UTC)
    tables = {
        "customers": frame("customers", [Customer("a", region="north"), Customer("b")]),
        "contacts": frame(
            "contacts",
            [
                Contact("k1", "a", "phone", at.replace(hour=9), queue="bills"),
                Contact("k2", "b", "phone", at.replace(hour=20)),
                Contact("k3", "a", "chat", at.replace(hour=9)),
            ],
        ),
        "recordings": frame(
            "recordings",
            [Recording(key, "s", "m", "ULAW", 8000, 2, 9.0, 0, 1, "ff", 1) for key in ("k1", "k2")],
        ),
    }
    rows = (
        recordings_with_slices(tables)
        .sort("contact_id")
        .select("contact_id", *SLICE_COLUMNS)
        .rows()
    )
    assert rows == [("k1", "bills", "north", "peak"), ("k2", None, None, "off-peak")]


def test_E3_equal_models_are_not_found_worse_in_one_of_many_slices_more_often_than_stated() -> None:
    refused, naive = 0, 0
    for seed in range(20):
        first, second = _many_slices(0.3, 2 * seed), _many_slices(0.3, 2 * seed + 1)
        rows = [gain for gain in slice_gains(first, second, "wer", seed=0) if gain.by == "queue"]
        assert len(rows) == 12
        refused += any(gain.p is not None and gain.p <= 0.05 for gain in rows)
        naive += any(gain.gain.high is not None and gain.gain.high < 0 for gain in rows)
    assert refused <= 3  # 5 % of 20 are promised
    assert naive > refused, (
        "without the correction equal models would be refused for some queue or other"
    )


def test_E3_says_which_slices_are_too_small_to_tell() -> None:
    check = _slices(
        gate_decision(examples.evidence(min_slice_clusters=7, relaxation_reason="few voices"))
    )
    assert check.verdict == "unproven"
    assert "12 with under 7 clusters" in check.sentence
    small = gate_decision(examples.evidence(min_slice_clusters=500, relaxation_reason="few voices"))
    assert _slices(small).verdict == "no_evidence"
    assert not small.accepted
