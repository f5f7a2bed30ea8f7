"""E7: behaviour tests on real models: what must not matter does not, what must matter points the right way."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from datetime import date
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import pytest

from evaluation.asr.probes import asr_probes
from evaluation.behaviour import Probe
from evaluation.churn.probes import churn_probes
from evaluation.gates import examples
from tests.registry_helpers import gate_decision

if TYPE_CHECKING:
    from models.churn.model import ChurnModel

RATE_HZ = 16000
VOICES = ["anna", "ben", "cleo", "dora"] * 5


def _waves(seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [
        (rng.normal(0, 0.05, RATE_HZ) * (np.arange(RATE_HZ) > 3200)).astype(np.float32)
        for _ in VOICES
    ]


def _by_name(probes: Iterable[Probe]) -> dict[str, Probe]:
    return {probe.name: probe for probe in probes}


def test_E7_a_recogniser_that_hears_loudness_is_found_out_and_refused() -> None:
    waves = _waves()

    def deaf_when_quiet(heard: list[np.ndarray]) -> list[str]:
        return ["yes no maybe" if np.abs(wave).max() > 0.1 else "yes" for wave in heard]

    probes = _by_name(asr_probes(deaf_when_quiet, waves, VOICES, sample_rate_hz=RATE_HZ, seed=0))
    assert probes["quieter"].value == pytest.approx(2 / 3)
    assert probes["louder"].value == 0
    evidence = dataclasses.replace(examples.evidence(), probes=list(probes.values()))
    decision = gate_decision(evidence)
    assert {check.name for check in decision.checks if check.verdict == "fail"} == {"behaviour"}
    assert "A quarter as loud" in next(c for c in decision.checks if c.name == "behaviour").sentence


def test_E7_a_steady_recogniser_passes_and_words_out_of_nothing_count() -> None:
    steady = asr_probes(
        lambda heard: ["yes no"] * len(heard), _waves(), VOICES, sample_rate_hz=RATE_HZ, seed=0
    )
    assert all(probe.value == 0 and probe.is_within(0.0) for probe in steady)
    chatty = _by_name(
        asr_probes(
            lambda heard: ["word" if len(w) > RATE_HZ else "" for w in heard],
            _waves(),
            VOICES,
            sample_rate_hz=RATE_HZ,
            seed=0,
        )
    )
    assert chatty["silence_before"].value == 1.0


@pytest.fixture(scope="module")
def network() -> ChurnModel:
    """A real, untrained network: whatever it has learned, ids and company must not matter to it."""
    pytest.importorskip("torch")
    import torch

    from data.features.features import describe
    from models.churn.model import ChurnConfig, ChurnModel, describe_columns

    torch.manual_seed(0)
    columns = describe_columns(
        _rows(0.0), [describe("friction_unresolved_90d"), describe("tenure_days")], 4
    )
    return ChurnModel(ChurnConfig(columns, (30, 180)))


def _rows(unresolved: float, customers: int = 40) -> pl.DataFrame:
    rng = np.random.default_rng(1)
    return pl.DataFrame(
        {
            "customer_id": [f"c{n:03d}" for n in range(customers)],
            "as_of": [date(2026, 1, 1)] * customers,
            "friction_unresolved_90d": rng.integers(0, 4, customers) + unresolved,
            "tenure_days": rng.normal(500, 100, customers),
        }
    )


def test_E7_the_churn_network_does_not_look_at_ids_or_company(network: ChurnModel) -> None:
    probes = _by_name(
        churn_probes(
            network.predict, _rows(0.0), unresolved=_rows(1.0), resolved=_rows(0.0), seed=0
        )
    )
    assert probes["customer_renamed"].value <= 1e-6
    assert probes["scored_alone"].value <= 1e-6


def test_E7_a_model_that_looks_at_ids_or_lowers_risk_for_unresolved_complaints_is_refused(
    network: ChurnModel,
) -> None:
    def cheat(rows: pl.DataFrame) -> pl.DataFrame:
        digits = rows["customer_id"].str.len_chars().cast(pl.Float64) / 1000
        return rows.select(
            "customer_id",
            "as_of",
            (0.3 + digits - rows["friction_unresolved_90d"] / 100).alias("risk_30"),
        )

    probes = churn_probes(cheat, _rows(0.0), unresolved=_rows(1.0), resolved=_rows(0.0), seed=0)
    by_name = _by_name(probes)
    assert by_name["customer_renamed"].value > 1e-3
    assert by_name["complaint_unresolved"].value == pytest.approx(-0.01)
    decision = gate_decision(
        dataclasses.replace(examples.evidence(examples.churn(0.2)), probes=probes)
    )
    assert not decision.accepted
    check = next(check for check in decision.checks if check.name == "behaviour")
    assert {
        measurement.what for measurement in check.measurements if measurement.verdict == "fail"
    } == {
        "customer_renamed",
        "complaint_unresolved",
    }
