"""The batcher: every request gets its own rows' scores, and a bad one spoils no other."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from models.serving.batching import Batcher, score_rows


class Doubler:
    """A model with one feature `x` and the risks x and 2x; it refuses negative values."""

    def __init__(self) -> None:
        self.config = SimpleNamespace(columns=[SimpleNamespace(name="x")])
        self.batches: list[int] = []

    def score_rows(self, customers: Sequence[Mapping[str, Any]]) -> np.ndarray:
        self.batches.append(len(customers))
        values = np.array([customer["x"] for customer in customers])
        if (values < 0).any():
            raise ValueError("negative")
        return np.stack([values, 2 * values], axis=1)


def scores(model: Doubler, *requests: list[float]) -> list[Any]:
    """The answers of requests that come at once: scores, or the exception."""

    async def ask() -> list[Any]:
        batcher = Batcher()
        try:
            answers: list[Any] = await asyncio.gather(
                *(batcher.score(model, [[value] for value in values]) for values in requests),
                return_exceptions=True,
            )
            return answers
        finally:
            batcher.close()

    return asyncio.run(ask())


def test_requests_share_a_batch_and_each_gets_its_own_rows() -> None:
    model = Doubler()
    first, second, third = scores(model, [0.1], [0.2, 0.3], [0.4])
    assert first.tolist() == [[0.1, 0.2]]
    assert second.tolist() == [[0.2, 0.4], [0.3, 0.6]]
    assert third.tolist() == [[0.4, 0.8]]
    assert len(model.batches) < 3


def test_a_request_the_model_refuses_spoils_no_other() -> None:
    good, bad, other = scores(Doubler(), [0.1], [-1.0], [0.2])
    assert (good.tolist(), other.tolist()) == ([[0.1, 0.2]], [[0.2, 0.4]])
    assert isinstance(bad, ValueError)


def test_an_answer_that_is_no_risk_is_an_error() -> None:
    for value in (0.7, float("nan")):
        with pytest.raises(ValueError, match="no risk between 0 and 1"):
            score_rows(Doubler(), [[value]])
