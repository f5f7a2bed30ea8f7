"""Fits the additive part of the churn network by penalised likelihood: what each input and kind of experience adds.

A few hundred customers who left can say little about many numbers, so every one of them is held towards nothing: the
inputs' weights by a ridge, what experiences weigh by a cost for each unit of hazard they claim, how they fade by where
that began. The level of each interval is free. It is fitted whole before the ensemble learns what it leaves.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from training.churn.likelihood import Rows, life_table, loss

if TYPE_CHECKING:
    import torch

    from models.churn.hazard import HazardNetwork

_MOST_ROWS = 300_000  # more of them move these few numbers no further
_FADE_SPREAD = 0.8  # of the logarithm of what is left in an interval, a priori


def fit_additive(
    network: HazardNetwork, rows: Rows, ridge: float, mark_cost: float, steps: int
) -> None:
    """Sets the network's level, linear, mark and fade to where the penalised likelihood of `rows` is highest (L-BFGS).

    `ridge` is half the inverse variance a weight has a priori, `mark_cost` what a unit of a mark costs of likelihood.
    """
    import torch
    from torch.nn import functional

    if len(rows) > _MOST_ROWS:
        chosen = torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))[:_MOST_ROWS]
        rows = replace(
            rows.take(chosen.sort().values), repeats=max(1.0, rows.repeats * _MOST_ROWS / len(rows))
        )
    plain, carried = rows.inputs[:, : network.plain], rows.inputs[:, network.plain :]
    ahead = network.change_ahead(rows.inputs)
    level = life_table(rows).requires_grad_(True)
    linear = torch.zeros(network.plain, requires_grad=True)
    mark = torch.full((carried.shape[1],), -1.0, requires_grad=True)
    faded = torch.zeros_like(network.fade, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [level, linear, mark, faded], max_iter=steps, line_search_fn="strong_wolfe"
    )
    fade = network.fade.clone()

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        weight = functional.softplus(mark)
        left = torch.log1p((carried @ weight)[:, None] * fade * faded.exp())
        logits = (plain @ linear)[:, None] + level + left + ahead @ linear[network.advancing]
        prior = (
            ridge * (linear**2).sum()
            + mark_cost * weight.sum()
            + (faded**2).sum() / (2 * _FADE_SPREAD**2)
        )
        total = loss(logits[:, None, :], rows) + prior * rows.repeats / len(rows)
        total.backward()
        return total

    optimizer.step(closure)
    with torch.no_grad():
        network.level.copy_(level)
        network.linear.copy_(linear)
        network.mark.copy_(functional.softplus(mark))
        network.fade.copy_(fade * faded.exp())
