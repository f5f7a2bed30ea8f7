"""Batches score requests: those that came in while one batch was scored make the next.

Many requests share one pass of the network, and none waits for a batch to fill.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

MAX_ROWS = 4096  # of one batch, unless a single request brings more


class Batcher:
    """One thread that scores rows of feature values for the requests of one event loop."""

    def __init__(self) -> None:
        self._waiting: list[tuple[Any, Sequence[Sequence[Any]], asyncio.Future[np.ndarray]]] = []
        self._busy = False
        # Referenced here, or the task could be collected while it runs.
        self._draining: asyncio.Task[None] | None = None
        self._thread: ThreadPoolExecutor | None = None

    async def score(self, model: Any, rows: Sequence[Sequence[Any]]) -> np.ndarray:
        """Returns float64 [rows, horizons] for rows of values in the order of the model's columns.

        Raises as the model does.
        """
        future: asyncio.Future[np.ndarray] = asyncio.get_running_loop().create_future()
        self._waiting.append((model, rows, future))
        if not self._busy:
            self._busy = True
            self._thread = self._thread or ThreadPoolExecutor(1, "score", _limit_to_one_thread)
            self._draining = asyncio.create_task(self._drain())
        return await future

    async def _drain(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while self._waiting:
                model, batch = self._next_batch()
                together = [row for rows, _ in batch for row in rows]
                try:
                    risks = await loop.run_in_executor(self._thread, score_rows, model, together)
                except Exception as error:
                    if len(batch) == 1:
                        _resolve(batch[0][1], error)
                    else:  # one request must not spoil the others: score each alone
                        for rows, future in batch:
                            await self._score_alone(loop, model, rows, future=future)
                    continue
                begin = 0
                for rows, future in batch:
                    _resolve(future, risks[begin : begin + len(rows)])
                    begin += len(rows)
        finally:
            self._busy = False

    def _next_batch(
        self,
    ) -> tuple[Any, list[tuple[Sequence[Sequence[Any]], asyncio.Future[np.ndarray]]]]:
        """The requests that go together: those of the model of whoever has waited longest."""
        model, count = self._waiting[0][0], 0
        batch: list[tuple[Sequence[Sequence[Any]], asyncio.Future[np.ndarray]]] = []
        rest = []
        for waiting in self._waiting:
            if waiting[0] is model and (not batch or count + len(waiting[1]) <= MAX_ROWS):
                batch.append((waiting[1], waiting[2]))
                count += len(waiting[1])
            else:
                rest.append(waiting)
        self._waiting = rest
        return model, batch

    async def _score_alone(
        self, loop: Any, model: Any, rows: Any, *, future: asyncio.Future[np.ndarray]
    ) -> None:
        try:
            _resolve(future, await loop.run_in_executor(self._thread, score_rows, model, rows))
        except Exception as error:
            _resolve(future, error)

    def close(self) -> None:
        """Ends the thread; another request would start one again."""
        if self._thread:
            self._thread.shutdown(wait=False)
        self._thread = None


def score_rows(model: Any, rows: Sequence[Sequence[Any]]) -> np.ndarray:
    """Returns float64 [rows, horizons] from a churn model, equal to its `predict` of these rows.

    Raises ValueError when the model answers what is no risk between 0 and 1.
    """
    names = [column.name for column in model.config.columns]
    risks = model.score_rows([dict(zip(names, row, strict=True)) for row in rows])
    if not ((risks >= 0) & (risks <= 1)).all():  # NaN is neither
        raise ValueError("the model answered something that is no risk between 0 and 1.")
    return np.asarray(risks, np.float64)


def _resolve(future: asyncio.Future[np.ndarray], result: np.ndarray | Exception) -> None:
    if future.done():  # the caller has gone
        return
    if isinstance(result, Exception):
        future.set_exception(result)
    else:
        future.set_result(result)


def _limit_to_one_thread() -> None:
    """Limits torch to one thread: for a few rows, waking others costs more than it saves."""
    import torch

    torch.set_num_threads(1)
