"""Boosted oblivious trees as tensors.

All nodes of a level of an oblivious tree test the same condition (Kohavi, 1994; as in CatBoost,
Prokhorenkova et al., 2018). So a tree is a list of conditions and a table of leaf values, and
scoring is comparing and looking up.
"""

from __future__ import annotations

import torch
from torch import nn


class ObliviousTrees(nn.Module):
    """`count` trees of `depth` conditions. Empty ones (all values 0) add nothing."""

    asked: torch.Tensor
    threshold: torch.Tensor
    values: torch.Tensor

    def __init__(self, count: int, depth: int) -> None:
        super().__init__()
        # The input each condition compares. The names of the buffers are part of the file format.
        self.register_buffer("asked", torch.zeros(count, depth, dtype=torch.int32))
        # Above which its bit is 1.
        self.register_buffer("threshold", torch.zeros(count, depth))
        # Leaf values by the bits, that of the first condition the lowest.
        self.register_buffer("values", torch.zeros(count, 2**depth))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Returns the sum of all trees for inputs [rows, width]: [rows]."""
        over = (
            inputs[:, self.asked.flatten().long()].view(len(inputs), *self.asked.shape)
            > self.threshold
        )
        leaf = (over * 2 ** torch.arange(self.asked.shape[1])).sum(2)
        return self.values.gather(1, leaf.T).sum(0)
