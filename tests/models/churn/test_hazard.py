"""The churn network's parts: decay, moments of intervals, and risks from logits of hazards."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from models.churn.hazard import interval_moments, mean_decay, mean_logits, risk_from_logits


def test_mean_decay_is_the_mean_of_the_halving_over_each_interval() -> None:
    horizons = (30, 90, 180)
    for (begin, end), mean in zip(
        ((0, 30), (30, 90), (90, 180)), mean_decay(horizons), strict=True
    ):
        days = np.linspace(begin, end, 10_001)
        assert float(mean) == pytest.approx(np.mean(0.5 ** (days / 50)), abs=1e-4)


def test_moments_lie_evenly_within_their_interval() -> None:
    assert interval_moments((8, 16)).tolist() == [[1, 3, 5, 7], [9, 11, 13, 15]]


def test_one_interval_is_exactly_logistic() -> None:
    logits = torch.tensor([[-2.0], [0.0], [3.0]])
    assert torch.allclose(risk_from_logits(logits), torch.sigmoid(logits))


def test_risks_never_fall_and_add_up_hazards() -> None:
    logits = torch.randn(50, 4, generator=torch.Generator().manual_seed(0))
    risks = risk_from_logits(logits)
    assert (risks.diff(dim=1) >= 0).all()
    hazards = torch.nn.functional.softplus(logits)
    assert torch.allclose(1 - risks[:, -1], (-hazards.sum(dim=1)).exp(), atol=1e-6)


def test_the_mean_over_members_is_that_of_their_survival() -> None:
    members = torch.randn(20, 8, 3, generator=torch.Generator().manual_seed(1)).double()
    survival = torch.stack([1 - risk_from_logits(members[:, k]) for k in range(8)]).mean(dim=0)
    assert torch.allclose(1 - risk_from_logits(mean_logits(members)), survival, atol=1e-9)
    alike = members[:, :1].expand(-1, 8, -1)
    assert torch.allclose(mean_logits(alike), members[:, 0], atol=1e-6)
