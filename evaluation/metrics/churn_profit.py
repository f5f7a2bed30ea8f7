"""The expected maximum profit (EMPC) of a retention campaign that follows a ranking of customers.

Verbraken, Verbeke and Baesens (2013), "A novel profit maximizing metric for measuring
classification performance of customer churn prediction models": whoever is above a threshold is
contacted and offered something; a share γ of those who would have left accepts and stays. γ is not
known, only its Beta distribution, and for each γ the best threshold is taken. Profit is counted for
each customer of the whole base.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Campaign:
    """A retention campaign in money of the CRM. The defaults are those of the paper."""

    customer_value: float = 200.0  # what a customer who is kept still brings
    # Of the offer, for everybody who takes it; all who would have stayed anyway do.
    offer_cost: float = 10.0
    contact_cost: float = 1.0  # of reaching one customer
    # Beta distribution of the share of leavers who take the offer and stay, with mean
    # alpha / (alpha + beta), here 0.3.
    accept_alpha: float = 6.0
    accept_beta: float = 14.0

    def __post_init__(self) -> None:
        """Raises ValueError for costs and values that make no campaign."""
        if not 0 <= self.offer_cost < self.customer_value or self.contact_cost < 0:
            raise ValueError(
                "evaluation.campaign: offer_cost must be less than customer_value, and no cost "
                "negative."
            )
        if self.accept_alpha <= 0 or self.accept_beta <= 0:
            raise ValueError("evaluation.campaign: accept_alpha and accept_beta must be above 0.")


def expected_maximum_profit(
    left: np.ndarray, risk: np.ndarray, weights: np.ndarray, *, campaign: Campaign
) -> tuple[np.ndarray, np.ndarray]:
    """Returns EMPC a customer and the share of customers contacted, each float64 [draws].

    `left` (bool) and `risk` are [rows], `weights` [draws, rows]. Only the order of risks counts;
    equal risks are one. The best thresholds lie on the convex hull of the ROC curve, which is the
    isotonic regression of who left on the order of risks: its blocks are contacted or not as a
    whole, from some γ on.
    """
    from scipy.optimize import isotonic_regression
    from scipy.special import betainc

    order = np.argsort(-risk, kind="stable")
    starts = np.flatnonzero(np.diff(risk[order], prepend=np.inf))
    drawn = weights[:, order]
    taken = np.add.reduceat(drawn, starts, axis=1)
    caught = np.add.reduceat(drawn * left[order], starts, axis=1)
    chances, sizes, owner = [], [], []
    for draw, (n, gone) in enumerate(zip(taken, caught, strict=True)):
        present = n > 0
        hull = isotonic_regression(gone[present] / n[present], weights=n[present], increasing=False)
        chances.append(hull.x[hull.blocks[:-1]])
        sizes.append(np.add.reduceat(n[present], hull.blocks[:-1]) / n.sum())
        owner.append(np.full(len(sizes[-1]), draw))
    chance, size, draw_of = np.concatenate(chances), np.concatenate(sizes), np.concatenate(owner)
    # Contacting a block brings gain · γ − cost a customer in it.
    gain = chance * (campaign.customer_value - campaign.offer_cost)
    cost = campaign.contact_cost + (1 - chance) * campaign.offer_cost
    threshold = np.minimum(1.0, np.divide(cost, gain, out=np.ones_like(cost), where=gain > 0))
    a, b = campaign.accept_alpha, campaign.accept_beta
    contacted = 1 - betainc(a, b, threshold)
    profit = gain * a / (a + b) * (1 - betainc(a + 1, b, threshold)) - cost * contacted
    draws = len(weights)
    return np.bincount(draw_of, size * profit, draws), np.bincount(draw_of, size * contacted, draws)
