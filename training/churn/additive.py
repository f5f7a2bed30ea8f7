"""Fits the additive part of the churn network: the weight of each input and kind of experience.

A few hundred churners say little about many numbers, so each has a penalty: a ridge on the inputs'
weights, a cost for each unit of hazard that experiences claim, a prior on how they fade. The level
of each interval is free. The part is fitted completely before the ensemble is trained on top.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from training.churn.likelihood import Rows, life_table_logits, loss

if TYPE_CHECKING:
    import torch

    from models.churn.hazard import HazardNetwork

_MAX_ROWS = 300_000  # more of them change these few numbers no further
_FADE_STD = 0.8  # a priori, of the logarithm of what is left in an interval


def fit_additive(
    network: HazardNetwork, rows: Rows, *, ridge: float, mark_cost: float, steps: int
) -> None:
    """Sets level, linear, mark and fade of `network` to the penalised maximum likelihood (L-BFGS).

    `ridge` is half the inverse variance of a weight a priori, `mark_cost` the penalty on a unit of
    a mark.
    """
    import torch
    from torch.nn import functional

    rows = _sample(rows)
    plain, carried = rows.inputs[:, : network.plain], rows.inputs[:, network.plain :]
    ahead = network.change_ahead(rows.inputs)
    level = life_table_logits(rows).requires_grad_(True)
    linear = torch.zeros(network.plain, requires_grad=True)
    mark = torch.full((carried.shape[1],), -1.0, requires_grad=True)
    log_fade_change = torch.zeros_like(network.fade, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [level, linear, mark, log_fade_change], max_iter=steps, line_search_fn="strong_wolfe"
    )
    initial_fade = network.fade.clone()

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        weight = functional.softplus(mark)
        remaining = torch.log1p((carried @ weight)[:, None] * initial_fade * log_fade_change.exp())
        logits = (plain @ linear)[:, None] + level + remaining + ahead @ linear[network.advancing]
        prior = (
            ridge * (linear**2).sum()
            + mark_cost * weight.sum()
            + (log_fade_change**2).sum() / (2 * _FADE_STD**2)
        )
        total = loss(logits[:, None, :], rows) + prior * rows.repeats / len(rows)
        total.backward()
        return total

    optimizer.step(closure)
    with torch.no_grad():
        network.level.copy_(level)
        network.linear.copy_(linear)
        network.mark.copy_(functional.softplus(mark))
        network.fade.copy_(initial_fade * log_fade_change.exp())


def _sample(rows: Rows) -> Rows:
    """Returns at most `_MAX_ROWS` rows, always the same ones, with `repeats` scaled to match."""
    import torch

    if len(rows) <= _MAX_ROWS:
        return rows
    chosen = torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))[:_MAX_ROWS]
    repeats = max(1.0, rows.repeats * _MAX_ROWS / len(rows))
    return replace(rows.take(chosen.sort().values), repeats=repeats)
