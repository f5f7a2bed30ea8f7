"""Shadow mode: a challenger answers copies of requests while no customer waits for it."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable
from typing import Any

from models.kinds import ASR, CHURN
from models.registry.registry import CHALLENGER
from models.serving.loaded import LoadedModel, Models, ModelSlot
from models.serving.rollout import disagreement

Job = Callable[[LoadedModel], Any]
# Copies that may wait, which lie in memory; more are dropped and counted.
MOST_WAITING = {
    CHURN.name: 200,
    ASR.name: 2,
}


class BusyError(Exception):
    """Raised by a job that would cost a customer time if it ran now: it is dropped."""


class Shadow:
    """One thread beside the service, for the requests of one kind."""

    def __init__(self, models: Models, kind: str) -> None:
        self._models = models
        self._kind = kind
        self._jobs: queue.Queue[tuple[ModelSlot, Job, Any] | None] = queue.Queue(MOST_WAITING[kind])
        self._thread: threading.Thread | None = None

    def offer(self, slot: ModelSlot, job: Job, given: Any) -> None:
        """Queues a copy of a request, or drops it when too many wait.

        `job` answers the request with a model; `given` is the answer the customer got.
        """
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="shadow", daemon=True)
            self._thread.start()
        try:
            self._jobs.put_nowait((slot, job, given))
        except queue.Full:
            self._models.metrics.shadow_dropped.labels(self._kind).inc()

    def close(self) -> None:
        """Ends the thread after what waits, at the latest with the process.

        Another request would start one again.
        """
        if self._thread:
            with contextlib.suppress(queue.Full):
                self._jobs.put_nowait(None)
        self._thread = None

    def _work(self) -> None:
        metrics, kind = self._models.metrics, self._kind
        while (queued := self._jobs.get()) is not None:
            slot, job, given = queued
            challenger, trial = slot.challenger, slot.trial
            if challenger is None or trial is None or trial.stopped:
                continue
            labels = (kind, challenger.version, CHALLENGER)
            started = time.perf_counter()
            try:
                answer = job(challenger)
            except BusyError:
                metrics.shadow_dropped.labels(kind).inc()
                continue
            except Exception as error:
                metrics.answers.labels(*labels, "error").inc()
                self._models.record_failure(kind, slot, error)
                continue
            seconds = time.perf_counter() - started
            metrics.answers.labels(*labels, "ok").inc()
            metrics.answer_seconds.labels(*labels).observe(seconds)
            trial.record_answer(CHALLENGER, seconds)
            self._models.record_stop(kind, slot)
            metrics.disagreement.labels(kind, challenger.version).observe(
                disagreement(kind, given, answer)
            )
