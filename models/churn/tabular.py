"""The network for a target without dates: an ensemble in the manner of TabM beside boosted trees, one logit a row.

Each feature is embedded by itself (a linear map of its piecewise-linear encoding, or of its categories), each member of
the ensemble sees every feature's embedding at a strength of its own, and from there on members share all weights but
for scalings (Gorishniy et al., 2022 and 2024: embeddings, TabM). Trees cut sharply where networks bend, and the two err
differently, so their mean is better than either; `share` says how much the trees count.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from models.churn.encoding import Encoder
from models.churn.trees import ObliviousTrees

if TYPE_CHECKING:
    from models.churn.hazard import ChurnConfig

_EMBEDDING = 16  # numbers a feature becomes


class TableNetwork(nn.Module):
    """Logits [rows, members, 1] from inputs as Encoder makes them."""

    place: torch.Tensor
    share: torch.Tensor

    def __init__(self, config: ChurnConfig) -> None:
        super().__init__()
        encoder = Encoder(config.columns)
        features, width, members = len(config.columns), config.hidden, config.members
        self.tree_inputs = encoder.bins  # trees find borders of their own and leave the bins aside
        self.carried = encoder.width - len(
            encoder.carried
        )  # from here on inputs are sums without an upper end
        # Which inputs are a feature's own, padded to the most any has with one that is always nothing.
        own = [torch.from_numpy(np.flatnonzero(encoder.owner == n)) for n in range(features)]
        place = nn.utils.rnn.pad_sequence(own, batch_first=True, padding_value=encoder.width)
        self.register_buffer("place", place, persistent=False)
        # Bins begin at nothing, so that a number's embedding begins linear and bends where training finds a reason to.
        embed = _uniform(encoder.width, _EMBEDDING, fan=_EMBEDDING)
        embed[: encoder.bins] = 0
        self.embed = nn.Parameter(embed)
        self.embed_bias = nn.Parameter(_uniform(features, _EMBEDDING, fan=_EMBEDDING))
        self.strength = nn.Parameter(torch.randn(members, features))
        fan = features * _EMBEDDING
        self.first = nn.Parameter(_uniform(features, _EMBEDDING, width, fan=fan))
        self.first_scale = nn.Parameter(torch.ones(members, width))
        self.first_bias = nn.Parameter(_uniform(width, fan=fan).repeat(members, 1))
        self.layers = nn.ModuleList(_Shared(width, members) for _ in range(config.layers - 1))
        self.head = nn.Parameter(_uniform(members, width, fan=width))
        self.level = nn.Parameter(_uniform(members, fan=width))
        self.dropout = nn.Dropout(config.dropout)
        self.trees = ObliviousTrees(config.trees, config.tree_depth)
        self.register_buffer("share", torch.zeros(()))

    def ensemble(self, inputs: torch.Tensor) -> torch.Tensor:
        """The members' logits, without the trees: [rows, members]."""
        if self.carried < inputs.shape[1]:
            inputs = torch.cat(
                [inputs[:, : self.carried], torch.log1p(inputs[:, self.carried :])], dim=1
            )
        own, embed = (
            functional.pad(inputs, (0, 1))[:, self.place],
            functional.pad(self.embed, (0, 0, 0, 1))[self.place],
        )
        embedded = torch.einsum("nfi,fid->nfd", own, embed) + self.embed_bias
        seen = torch.einsum("nfd,fdh->nfh", embedded, self.first)
        x = torch.einsum("nfh,kf->nkh", seen, self.strength) * self.first_scale + self.first_bias
        x = self.dropout(functional.relu(x))
        for layer in self.layers:
            x = self.dropout(functional.relu(layer(x)))
        return (x * self.head).sum(2) + self.level

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        share = float(self.share)
        if share == 0:
            return self.ensemble(inputs)[:, :, None]
        return (share * self.trees(inputs)[:, None] + (1 - share) * self.ensemble(inputs))[
            :, :, None
        ]


class _Shared(nn.Module):
    """A linear layer whose members share the weight (BatchEnsemble, Wen et al., 2020)."""

    def __init__(self, width: int, members: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(_uniform(width, width, fan=width))
        self.scale_in = nn.Parameter(torch.ones(members, width))
        self.scale_out = nn.Parameter(torch.ones(members, width))
        self.bias = nn.Parameter(_uniform(width, fan=width).repeat(members, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x * self.scale_in) @ self.weight * self.scale_out + self.bias


def _uniform(*shape: int, fan: int) -> torch.Tensor:
    return torch.empty(*shape).uniform_(-1, 1) / max(1, fan) ** 0.5
