"""The expected maximum profit promises the figure of the paper, whatever the weights and however risks are scaled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from evaluation.metrics.churn_profit import Campaign, expected_maximum_profit


def empc(
    left: Any, risk: Any, campaign: Campaign | None = None, weight: Any = None
) -> tuple[float, float]:
    weights = np.ones((1, len(left))) if weight is None else np.asarray(weight, float)[None]
    profit = expected_maximum_profit(
        np.asarray(left, bool), np.asarray(risk, float), weights, campaign=campaign or Campaign()
    )
    return float(profit[0][0]), float(profit[1][0])


def a_base(rows: int = 2000) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    risk = rng.uniform(0.01, 0.6, rows)
    return rng.random(rows) < risk, risk


# What empulse 0.13.1 (by one of the measure's school) says of the same customers: profit, and the share contacted.
@pytest.mark.parametrize(
    ("change", "campaign", "profit", "contacted"),
    [
        (lambda risk: risk, Campaign(), 10.436107338418651, 0.6875691704925474),
        (lambda risk: risk, Campaign(500.0, 60.0, 3.0, 3.0, 9.0), 9.432552742626005, None),
        (lambda risk: risk.round(1), Campaign(), 10.284557428784694, None),
        (lambda risk: 1 - risk, Campaign(), 8.895624051468648, None),
    ],
)
def test_it_is_what_another_program_finds(
    change: Callable[[np.ndarray], np.ndarray],
    campaign: Campaign,
    profit: float,
    contacted: float | None,
) -> None:
    left, risk = a_base()
    result = empc(left, change(risk), campaign)
    assert result[0] == pytest.approx(profit, rel=1e-12)
    if contacted is not None:
        assert result[1] == pytest.approx(contacted, rel=1e-12)


def test_only_the_order_of_risks_counts() -> None:
    left, risk = a_base(500)
    assert empc(left, risk**3) == pytest.approx(empc(left, risk))


def test_a_weight_of_two_is_a_customer_twice() -> None:
    left, risk = a_base(200)
    weight = np.random.default_rng(1).integers(0, 4, 200)
    assert empc(left, risk, weight=weight) == pytest.approx(
        empc(np.repeat(left, weight), np.repeat(risk, weight))
    )


def test_knowing_who_leaves_is_worth_most_and_knowing_nothing_what_contacting_all_is() -> None:
    left, risk = a_base()
    base = left.mean()
    perfect = empc(left, left)[0]
    # Each leaver contacted brings 190 γ − 1, and γ is 0.3 in the mean (γ below 1/190 hardly ever happens).
    assert perfect == pytest.approx(base * (190 * 0.3 - 1), rel=1e-6)
    nothing = empc(left, np.full(len(left), 0.5))[0]
    all_contacted = base * 190 * 0.3 - 1 - (1 - base) * 10
    assert all_contacted <= nothing  # nobody is contacted where too few would accept
    assert nothing < empc(left, risk)[0] < perfect


def test_a_campaign_nobody_gains_from_contacts_nobody() -> None:
    left, risk = a_base()
    assert empc(left, risk, Campaign(contact_cost=500.0)) == (0.0, 0.0)
    assert empc(np.zeros(50, bool), risk[:50]) == (0.0, 0.0)


@pytest.mark.parametrize(
    "wrong", [{"offer_cost": 300.0}, {"contact_cost": -1.0}, {"accept_alpha": 0.0}]
)
def test_costs_that_make_no_campaign_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"evaluation\.campaign"):
        Campaign(**wrong)
