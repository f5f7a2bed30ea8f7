"""Computes the likelihood of piecewise constant hazards, and calibrates networks by it.

A customer who was observed for half an interval counts for half of it, so no censored row is
dropped (Allison, 1982; Gensheimer and Narasimhan, 2019, for networks). Without dates it is the
logistic loss.
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

_SOFTPLUS_LINEAR = -15  # below this logit log(softplus(x)) is x to float32 precision
_LOG_TEMPERATURE_STD = 0.1  # of the Gaussian priors in calibration
_BIAS_STD = 0.05


@dataclass
class Rows:
    """Encoded rows with their outcomes.

    `repeats` is the mean number of rows on one departure: with as-of dates close together several
    rows tell of the same one. A likelihood over all rows then overstates what is known by that
    factor, so priors weigh more by it.
    """

    inputs: torch.Tensor  # float32 [rows, width]
    observed: torch.Tensor  # float32 [rows, intervals], share of each interval observed
    event: torch.Tensor  # int64 [rows], interval of the event or -1
    dated: bool
    repeats: float = 1.0

    def __len__(self) -> int:
        return len(self.event)

    def take(self, places: torch.Tensor) -> Rows:
        """Returns the rows at `places`, in that order."""
        return replace(
            self,
            inputs=self.inputs[places],
            observed=self.observed[places],
            event=self.event[places],
        )


def encode(encoder: Encoder, part: pl.DataFrame, horizons_days: tuple[int, ...]) -> Rows:
    """Returns the encoded rows of a feature frame whose outcomes are known."""
    import torch

    inputs = torch.from_numpy(encoder.frame(part))
    event = torch.from_numpy(part["event"].to_numpy().copy())
    if not horizons_days:
        return Rows(inputs, torch.ones(len(event), 1), torch.where(event, 0, -1), dated=False)
    ends = torch.tensor(horizons_days, dtype=torch.float32)
    starts = torch.cat([torch.zeros(1), ends[:-1]])
    time = torch.from_numpy(part["time_days"].to_numpy().astype(np.float32))[:, None]
    observed = ((time - starts) / (ends - starts)).clamp(0, 1)
    interval = torch.searchsorted(ends, time[:, 0].contiguous())
    event &= interval < len(ends)
    churners = part["customer_id"].filter(pl.Series(event.numpy()))
    return Rows(
        inputs,
        observed,
        torch.where(event, interval, -1),
        dated=True,
        repeats=len(churners) / max(1, churners.n_unique()) or 1.0,
    )


def loss(logits: torch.Tensor, rows: Rows) -> torch.Tensor:
    """Returns the mean negative log-likelihood of logits [rows, members, intervals], a scalar.

    Every member is scored by itself.
    """
    return row_losses(logits, rows).mean()


def row_losses(logits: torch.Tensor, rows: Rows) -> torch.Tensor:
    """Returns the negative log-likelihood of each row and member: [rows, members]."""
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
    # Far below zero softplus itself would round to nothing.
    log_hazard = torch.where(
        chosen < _SOFTPLUS_LINEAR,
        chosen,
        functional.softplus(chosen.clamp(min=_SOFTPLUS_LINEAR)).log(),
    )
    return survived - log_hazard * (rows.event >= 0)[:, None]


def life_table_logits(rows: Rows) -> torch.Tensor:
    """Returns the logit of each interval's average hazard over all rows: [intervals]."""
    import torch

    count = rows.observed.shape[1]
    events = torch.tensor([float((rows.event == j).sum()) for j in range(count)]) + 0.5
    return torch.log(torch.expm1(events / (rows.observed.sum(0) + 1.0)))


def ensemble_logits(network: torch.nn.Module, rows: Rows) -> torch.Tensor:
    """Returns the logits of the members' mean without dropout: [rows, intervals]."""
    import torch

    from models.churn.hazard import mean_logits

    network.eval()
    with torch.no_grad():
        return torch.cat([mean_logits(network(inputs)) for inputs in rows.inputs.split(4096)])


def ensemble_loss(network: torch.nn.Module, rows: Rows) -> float:
    """Returns the mean negative log-likelihood of the members' mean."""
    return float(loss(ensemble_logits(network, rows)[:, None, :], rows))


def calibrate(
    network: torch.nn.Module, rows: Rows, expected: float = 1.0
) -> tuple[float, tuple[float, ...]]:
    """Returns (temperature, bias of each interval) by penalised likelihood on `rows`.

    `expected` is the prior mean of the temperature. With few events the priors keep both near it.
    Hazards are scaled around the average customer's, so that a temperature leaves the level of each
    interval to the biases, whose prior is tighter.
    """
    import torch

    logits = ensemble_logits(network, rows)[:, None, :]
    average = logits.mean(dim=(0, 1)) if rows.dated else torch.zeros(logits.shape[2])
    parameters = torch.zeros(1 + logits.shape[2], dtype=torch.float64)
    parameters[0] = centre = math.log(expected)
    parameters.requires_grad_(True)
    optimizer = torch.optim.LBFGS([parameters], max_iter=100, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        scaled = average + (logits - average) * parameters[0].exp() + parameters[1:]
        total = loss(scaled, rows) * len(rows) / rows.repeats
        # Train knows the level better than valid does, and what was fitted under penalties is
        # seldom overconfident: hence the narrow priors.
        total = (
            total
            + (parameters[0] - centre) ** 2 / (2 * _LOG_TEMPERATURE_STD**2)
            + (parameters[1:] ** 2).sum() / (2 * _BIAS_STD**2)
        )
        total.backward()
        return total

    optimizer.step(closure)
    values = parameters.detach()
    temperature = float(values[0].exp())
    return temperature, tuple((values[1:] + (1 - temperature) * average).tolist())
