"""The likelihood of hazards that are constant within an interval, and calibration by it.

A customer who was observed for half an interval counts for half of it, so no censored row is thrown away (Allison,
1982; Gensheimer and Narasimhan, 2019, for networks). Without dates it is plain logistic loss.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

if TYPE_CHECKING:
    import torch

    from models.churn.encoding import Encoder


@dataclass
class Rows:
    """Encoded rows: inputs, share of each interval observed [rows, intervals], interval of the event or -1.

    `repeats` is how many rows tell of the same departure, as they do where as-of dates follow closely: a likelihood of
    all rows knows so much less than it seems to, and priors have to weigh so much more.
    """

    inputs: torch.Tensor
    observed: torch.Tensor
    event: torch.Tensor
    dated: bool
    repeats: float = 1.0

    def __len__(self) -> int:
        return len(self.event)

    def take(self, places: torch.Tensor) -> Rows:
        """The rows at `places`, in that order."""
        return replace(
            self,
            inputs=self.inputs[places],
            observed=self.observed[places],
            event=self.event[places],
        )


def encode(encoder: Encoder, part: pl.DataFrame, horizons_days: tuple[int, ...]) -> Rows:
    """Rows of a feature frame whose outcomes are known."""
    import torch

    inputs = torch.from_numpy(encoder.frame(part))
    event = torch.from_numpy(part["event"].to_numpy().copy())
    if not horizons_days:
        return Rows(inputs, torch.ones(len(event), 1), torch.where(event, 0, -1), False)
    ends = torch.tensor(horizons_days, dtype=torch.float32)
    starts = torch.cat([torch.zeros(1), ends[:-1]])
    time = torch.from_numpy(part["time_days"].to_numpy().astype(np.float32))[:, None]
    observed = ((time - starts) / (ends - starts)).clamp(0, 1)
    interval = torch.searchsorted(ends, time[:, 0].contiguous())
    event &= interval < len(ends)
    left = part["customer_id"].filter(pl.Series(event.numpy()))
    return Rows(
        inputs,
        observed,
        torch.where(event, interval, -1),
        True,
        len(left) / max(1, left.n_unique()) or 1.0,
    )


def loss(logits: torch.Tensor, rows: Rows) -> torch.Tensor:
    """Mean negative log-likelihood of logits [rows, members, intervals], every member judged by itself."""
    return row_losses(logits, rows).mean()


def row_losses(logits: torch.Tensor, rows: Rows) -> torch.Tensor:
    """Negative log-likelihood of each row and member: [rows, members]."""
    import torch
    from torch.nn import functional

    if not rows.dated:
        target = (rows.event >= 0).to(logits.dtype)[:, None].expand(logits.shape[:2])
        return functional.binary_cross_entropy_with_logits(
            logits[:, :, 0], target, reduction="none"
        )
    hazard = functional.softplus(logits)
    survived = (hazard * rows.observed[:, None, :]).sum(2)
    chosen = logits.gather(
        2, rows.event.clamp(min=0)[:, None, None].expand(-1, logits.shape[1], 1)
    )[:, :, 0]
    # log(softplus(x)) is x far below zero, where softplus itself would round to nothing
    log_hazard = torch.where(chosen < -15, chosen, functional.softplus(chosen.clamp(min=-15)).log())
    return survived - log_hazard * (rows.event >= 0)[:, None]


def life_table_logits(rows: Rows) -> torch.Tensor:
    """The logit of each interval's average hazard: what is known of everybody together."""
    import torch

    count = rows.observed.shape[1]
    events = torch.tensor([float((rows.event == j).sum()) for j in range(count)]) + 0.5
    return torch.log(torch.expm1(events / (rows.observed.sum(0) + 1.0)))


def ensemble_logits(network: torch.nn.Module, rows: Rows) -> torch.Tensor:
    """Logits [rows, intervals] of the members' mean, without dropout."""
    import torch

    from models.churn.hazard import mean_logits

    network.eval()
    with torch.no_grad():
        return torch.cat([mean_logits(network(inputs)) for inputs in rows.inputs.split(4096)])


def ensemble_loss(network: torch.nn.Module, rows: Rows) -> float:
    """Mean negative log-likelihood of the members' mean."""
    return float(loss(ensemble_logits(network, rows)[:, None, :], rows))


def calibrate(
    network: torch.nn.Module, rows: Rows, expected: float = 1.0
) -> tuple[float, tuple[float, ...]]:
    """A temperature for all and a bias for each interval by penalised likelihood: few events move them little.

    `expected` is the temperature to believe in before seeing `rows`. Hazards are spread around the average customer's,
    so that a temperature leaves the level of each interval to the biases, whose prior knows it better.
    """
    import torch

    logits = ensemble_logits(network, rows)[:, None, :]
    average = logits.mean(dim=(0, 1)) if rows.dated else torch.zeros(logits.shape[2])
    knobs = torch.zeros(1 + logits.shape[2], dtype=torch.float64)
    knobs[0] = centre = math.log(expected)
    knobs.requires_grad_(True)
    optimizer = torch.optim.LBFGS([knobs], max_iter=100, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        moved = average + (logits - average) * knobs[0].exp() + knobs[1:]
        total = loss(moved, rows) * len(rows) / rows.repeats
        # Gaussian priors: 0.1 on the log temperature, 0.05 on each bias. Train knows the level better than valid does,
        # and what was fitted under penalties is seldom overconfident.
        total = (
            total + (knobs[0] - centre) ** 2 / (2 * 0.1**2) + (knobs[1:] ** 2).sum() / (2 * 0.05**2)
        )
        total.backward()
        return total

    optimizer.step(closure)
    values = knobs.detach()
    temperature = float(values[0].exp())
    return temperature, tuple((values[1:] + (1 - temperature) * average).tolist())
