"""The network for a target without dates: a TabM-like ensemble and boosted trees, one logit a row.

Each feature is embedded by itself (a linear map of its piecewise-linear encoding, or of its
categories). Each member of the ensemble scales every feature's embedding by a strength of its own,
and from there on members share all weights but for scalings (Gorishniy et al., 2022 and 2024:
embeddings, TabM). Trees model jumps and networks smooth effects. The two err differently, so their
mean is better than either; `share` is the weight of the trees.
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

_EMBEDDING = 16  # length of a feature's embedding


class TableNetwork(nn.Module):
    """Logits [rows, members, 1] from an Encoder's inputs [rows, width]."""

    place: torch.Tensor
    share: torch.Tensor

    def __init__(self, config: ChurnConfig) -> None:
        super().__init__()
        encoder = Encoder(config.columns)
        features, width, members = len(config.columns), config.hidden, config.members
        # Trees find borders of their own, so they get the inputs after the bins.
        self.tree_inputs = encoder.bins
        # From here on inputs are sums without an upper end.
        self.carried = encoder.width - len(encoder.carried)
        # The inputs of each feature, padded to the most any has with one that is always 0.
        own = [torch.from_numpy(np.flatnonzero(encoder.owner == n)) for n in range(features)]
        place = nn.utils.rnn.pad_sequence(own, batch_first=True, padding_value=encoder.width)
        self.register_buffer("place", place, persistent=False)
        # Bins start at 0, so that a number's embedding starts linear and bends where training finds
        # a reason to.
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
        """Returns the members' logits, without the trees: [rows, members]."""
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
        logits: torch.Tensor = (x * self.head).sum(2) + self.level
        return logits

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        share = float(self.share)
        if share == 0:
            return self.ensemble(inputs)[:, :, None]
        trees: torch.Tensor = self.trees(inputs)
        return (share * trees[:, None] + (1 - share) * self.ensemble(inputs))[:, :, None]


class _Shared(nn.Module):
    """A linear layer whose members share the weight (BatchEnsemble, Wen et al., 2020)."""

    def __init__(self, width: int, members: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(_uniform(width, width, fan=width))
        self.scale_in = nn.Parameter(torch.ones(members, width))
        self.scale_out = nn.Parameter(torch.ones(members, width))
        self.bias = nn.Parameter(_uniform(width, fan=width).repeat(members, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        outputs: torch.Tensor = (x * self.scale_in) @ self.weight * self.scale_out + self.bias
        return outputs


def _uniform(*shape: int, fan: int) -> torch.Tensor:
    """Random start weights in ±1/√fan."""
    weights: torch.Tensor = torch.empty(*shape).uniform_(-1, 1) / max(1, fan) ** 0.5
    return weights
