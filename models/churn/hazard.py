"""The churn network: a hazard for each interval of time, from an additive part and an ensemble.

An interval's hazard is softplus(logit). A target without dates is a single interval, for which that
is exactly logistic (its network is models.churn.tabular). The logit is a sum of three parts:

* an additive part over all inputs, linear in their piecewise-linear encoding. What grows by a day
  each day (tenure) is known for every interval to come, and enters each as it will then be: a
  time-dependent covariate (Cox, 1972);
* log(1 + weighted sum of decayed past contacts): experiences add to a customer's hazard and decay,
  as in a marked Hawkes process (Hawkes, 1971). The weight of each mark is learned, and so is how
  much of it is left in each later interval;
* the residual of an ensemble of small networks that share their weights but for scalings
  (BatchEnsemble, Wen et al., 2020, as in TabM, Gorishniy et al., 2024). It starts at zero, so with
  few rows the additive part is what remains.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from models.churn.encoding import Column, Encoder

_HALF_LIFE_DAYS = 50.0  # start value for learning how experiences decay
_MOMENTS = 4  # points of each interval over which an advancing number is averaged


@dataclass(frozen=True)
class ChurnConfig:
    """All of a model but its weights. No horizons means one target without dates, called `risk`.

    `temperature` and `bias` (one for each interval) calibrate: temperature · logit + bias.
    """

    columns: tuple[Column, ...]
    horizons_days: tuple[int, ...]
    hidden: int = 96
    layers: int = 2
    members: int = 8
    dropout: float = 0.1
    trees: int = 0  # boosted trees beside the ensemble, for a target without dates
    tree_depth: int = 6
    temperature: float = 1.0
    bias: tuple[float, ...] = (0.0,)

    @property
    def risk_names(self) -> tuple[str, ...]:
        """The columns of a prediction: risk_30, risk_90, …, or risk."""
        return tuple(f"risk_{days}" for days in self.horizons_days) or ("risk",)


class _Shared(nn.Module):
    """A linear layer whose members share the weight and differ by scalings of its input and output.

    The first layer (`place` 0) does not scale its input, so that its large product is computed once
    for all members. The second scales it by random signs, which makes the members differ.
    """

    def __init__(self, inputs: int, outputs: int, *, members: int, place: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(
            torch.empty(inputs, outputs).uniform_(-1, 1) / max(1, inputs) ** 0.5
        )
        self.bias = nn.Parameter(torch.zeros(members, outputs))
        self.scale_out = nn.Parameter(torch.ones(members, outputs))
        signs = torch.randint(0, 2, (members, inputs)).float() * 2 - 1
        self.scale_in = (
            nn.Parameter(signs if place == 1 else torch.ones(members, inputs)) if place else None
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (
            x if self.scale_in is None else x * self.scale_in
        ) @ self.weight * self.scale_out + self.bias


class _Advancing:
    """A number that grows by one a day: how its inputs will differ in later intervals."""

    def __init__(self, encoder: Encoder, number: int) -> None:
        column = encoder.numeric[number]
        self._bins, self._standard, self._missing = encoder.places(number)
        self._mean, self._std = column.mean, column.std
        self._low = torch.tensor(column.edges[:-1])
        self._width = torch.tensor(np.diff(column.edges), dtype=torch.float32)
        self.inputs = [*self._bins.tolist(), self._standard]

    def __call__(self, inputs: torch.Tensor, moments: torch.Tensor) -> torch.Tensor:
        """Returns the change of the inputs, [rows, intervals, inputs], averaged over `moments`.

        `moments` are days from the as-of date, [intervals, moments].
        """
        days = (inputs[:, self._standard] * self._std + self._mean)[:, None, None] + moments
        binned = ((days[..., None] - self._low) / self._width).clamp(0, 1).mean(2) - inputs[
            :, None, self._bins
        ]
        standard = ((days - self._mean) / self._std).clamp(-4, 4).mean(2) - inputs[
            :, None, self._standard
        ]
        change = torch.cat([binned, standard[..., None]], dim=2)
        if self._missing is None:
            return change
        return change * (1 - inputs[:, self._missing])[:, None, None]


class HazardNetwork(nn.Module):
    """Logits of the hazard, [rows, members, intervals], from an Encoder's inputs [rows, width]."""

    linear: torch.Tensor
    level: torch.Tensor
    mark: torch.Tensor
    fade: torch.Tensor

    def __init__(self, config: ChurnConfig) -> None:
        super().__init__()
        encoder = Encoder(config.columns)
        self.plain = encoder.width - len(encoder.carried)
        intervals = len(config.horizons_days)
        # These are fitted by training.churn.additive; the rest is learned by gradient descent on
        # what they leave unexplained.
        self.register_buffer("linear", torch.zeros(self.plain))
        self.register_buffer("level", torch.zeros(intervals))
        self.register_buffer("mark", torch.zeros(len(encoder.carried)))
        self.register_buffer("fade", mean_decay(config.horizons_days))
        self._advancing = [
            _Advancing(encoder, n) for n, column in enumerate(encoder.numeric) if column.advances
        ]
        self.advancing = np.array(
            [place for number in self._advancing for place in number.inputs], dtype=np.int64
        )
        self._moments = interval_moments(config.horizons_days)
        widths = [self.plain + bool(encoder.carried), *[config.hidden] * config.layers]
        self.hidden = nn.ModuleList(
            _Shared(inputs, outputs, members=config.members, place=place)
            for place, (inputs, outputs) in enumerate(itertools.pairwise(widths))
        )
        self.dropout = nn.Dropout(config.dropout)
        # A score common to all intervals and departures from it: few events lie in each interval
        # alone.
        self.common = nn.Parameter(torch.zeros(config.members, widths[-1], 1))
        self.departure = nn.Parameter(torch.zeros(config.members, widths[-1], intervals))

    def additive(self, inputs: torch.Tensor) -> torch.Tensor:
        """Returns the logits without the ensemble: [rows, intervals]."""
        carried = torch.log1p((inputs[:, self.plain :] @ self.mark)[:, None] * self.fade)
        later = self.change_ahead(inputs) @ self.linear[self.advancing]
        return (inputs[:, : self.plain] @ self.linear)[:, None] + self.level + carried + later

    def change_ahead(self, inputs: torch.Tensor) -> torch.Tensor:
        """Returns how the inputs at `advancing` will differ, [rows, intervals, inputs].

        It is the mean over each interval.
        """
        changes = [number(inputs, self._moments) for number in self._advancing]
        return torch.cat([inputs.new_zeros(len(inputs), len(self._moments), 0), *changes], dim=2)

    def zero_ensemble(self) -> None:
        """Sets the ensemble's output to zero, which leaves the additive part."""
        with torch.no_grad():
            self.common.zero_()
            self.departure.zero_()

    @property
    def ensemble_is_zero(self) -> bool:
        """Whether the ensemble's output is zero."""
        return not (self.common.any() or self.departure.any())

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        x = inputs[:, : self.plain]
        if len(self.mark):
            x = torch.cat([x, torch.log1p(inputs[:, self.plain :] @ self.mark)[:, None]], dim=1)
        x = x[:, None, :]
        for layer in self.hidden:
            x = self.dropout(functional.relu(layer(x)))
        # A sum of products over the last hidden layer, each member with a head of its own.
        deep = torch.einsum("nkh,khj->nkj", x, self.common + self.departure)
        return deep + self.additive(inputs)[:, None, :]


def mean_decay(
    horizons_days: tuple[int, ...], half_life_days: float = _HALF_LIFE_DAYS
) -> torch.Tensor:
    """Returns the mean over each interval of 0.5 ^ (days / `half_life_days`): [intervals]."""
    ends = np.array([0.0, *horizons_days]) * np.log(2) / half_life_days
    return torch.tensor(-np.diff(np.exp(-ends)) / np.diff(ends), dtype=torch.float32)


def interval_moments(horizons_days: tuple[int, ...]) -> torch.Tensor:
    """Returns days from the as-of date that stand for each interval: [intervals, moments]."""
    edges = np.array([0.0, *horizons_days])
    within = (np.arange(_MOMENTS) + 0.5) / _MOMENTS
    return torch.tensor(edges[:-1, None] + np.diff(edges)[:, None] * within, dtype=torch.float32)


def mean_logits(logits: torch.Tensor) -> torch.Tensor:
    """Returns logits [rows, intervals] of the members' mean survival.

    `logits` are [rows, members, intervals].
    """
    log_survival = -torch.cumsum(functional.softplus(logits.double()), dim=2)
    mean = torch.logsumexp(log_survival, dim=1) - np.log(logits.shape[1])
    before = functional.pad(mean[:, :-1], (1, 0))
    hazard = (before - mean).clamp(min=1e-12)
    return torch.where(hazard > 30, hazard, torch.log(torch.expm1(hazard.clamp(max=30))))


def risk_from_logits(logits: torch.Tensor) -> torch.Tensor:
    """Returns the risk by the end of each interval, never falling: [rows, intervals]."""
    return -torch.expm1(-torch.cumsum(functional.softplus(logits), dim=1))
