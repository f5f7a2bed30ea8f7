"""Boosted oblivious trees as tensors: every tree asks each row the same few questions and adds what the answers name.

All nodes of a level of an oblivious tree ask the same question (Kohavi, 1994; as in CatBoost, Prokhorenkova et al.,
2018), so a tree is a list of questions and a table of values, and scoring is comparing and looking up.
"""

from __future__ import annotations

import torch
from torch import nn


class ObliviousTrees(nn.Module):
    """`count` trees of `depth` questions. Empty ones (all values 0) add nothing."""

    asked: torch.Tensor
    threshold: torch.Tensor
    values: torch.Tensor

    def __init__(self, count: int, depth: int) -> None:
        super().__init__()
        self.register_buffer("asked", torch.zeros(count, depth, dtype=torch.int32))  # which input
        self.register_buffer("threshold", torch.zeros(count, depth))  # over which the answer is 1
        self.register_buffer(
            "values", torch.zeros(count, 2**depth)
        )  # by the answers as bits, the first the lowest

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """The sum of all trees for inputs [rows, width]: [rows]."""
        over = (
            inputs[:, self.asked.flatten().long()].view(len(inputs), *self.asked.shape)
            > self.threshold
        )
        leaf = (over * 2 ** torch.arange(self.asked.shape[1])).sum(2)
        return self.values.gather(1, leaf.T).sum(0)
