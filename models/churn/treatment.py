"""The value of treating a customer, and whom to treat when not everybody can be."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl


@dataclass(frozen=True)
class TreatmentParams:
    """Section `treatment` of params.yaml: costs and gains of an offer, how its effect is fit."""

    kind: str = ""  # which intervention of the log; empty: the most frequent
    horizon_days: int = 180  # an offer counts by who stays so long after it
    budget_share: float = 0.1  # of the customers can be treated at a time
    margin_share: float = 0.4  # of a customer's monthly price is earned with them
    margin_per_month: float = 12.0  # earned with a customer whose price is not known
    months_kept: float = 12.0  # a customer who was kept goes on paying for so many months
    cost_contact: float = 6.0  # of reaching one customer, kept or not
    cost_offer: float = 0.0  # of what each customer reached is given
    # Propensities nearer to 0 or 1 are clipped to this distance: a little bias for less variance.
    clip: float = 0.02
    min_arm: int = 300  # decisions needed on each side, offered and not
    min_leavers: int = 20  # customers who left, needed on each side
    folds: int = 5  # of the cross-fitting, by customer
    bins: int = 2  # at most so many bins of a number's piecewise-linear encoding
    risk_c: float = 0.01  # inverse penalty of what raises the risk, offered or not
    effect_c: float = 0.001  # and of what tells the two apart
    seed: int = 0  # of the folds and of the intervals

    def __post_init__(self) -> None:
        """Raises ValueError for shares and counts that make no sense."""
        if not 0 < self.budget_share <= 1:
            raise ValueError(
                f"treatment.budget_share must be above 0 and at most 1, not {self.budget_share}."
            )
        if not 0 < self.clip < 0.5:
            raise ValueError(f"treatment.clip must be between 0 and 0.5, not {self.clip}.")
        if self.folds < 2:
            raise ValueError(f"treatment.folds must be at least 2, not {self.folds}.")

    @property
    def cost(self) -> float:
        """Cost of treating one customer."""
        return self.cost_contact + self.cost_offer


def customer_value(monthly_price: pl.Series, params: TreatmentParams) -> pl.Series:
    """Returns what keeping each customer brings: the margin, in money, of the months they stay."""
    margin = (monthly_price.cast(pl.Float64) * params.margin_share).fill_null(
        params.margin_per_month
    )
    return (margin * params.months_kept).alias("worth")


def choose(
    score: np.ndarray, group: np.ndarray, budget_share: float, *, above: float = -np.inf
) -> np.ndarray:
    """Returns bool [rows]: the highest scores of each group that the budget allows.

    At most `budget_share` of a group's rows are chosen, and only scores over `above`. Of equal
    scores the first is taken.
    """
    chosen = np.zeros(len(score), dtype=bool)
    for value in np.unique(group):
        members = np.flatnonzero(group == value)
        best = members[np.argsort(-score[members], kind="stable")][
            : int(budget_share * len(members))
        ]
        chosen[best] = score[best] > above
    return chosen
