"""Lets a challenger answer copies of the requests, where nobody waits for it, and measures how far it departs."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable
from typing import Any

from models.kinds import ASR, CHURN
from models.serving.loaded import CHALLENGER, Loaded, Models, ModelSlot
from models.serving.rollout import disagreement

Job = Callable[[Loaded], Any]
MOST_WAITING = {
    CHURN.name: 200,
    ASR.name: 2,
}  # copies, which lie in memory; what comes above that is dropped and counted


class BusyError(Exception):
    """A job finds that answering now would cost a customer time: it is dropped."""


class Shadow:
    """One thread beside the service, for the requests of one kind."""

    def __init__(self, models: Models, kind: str) -> None:
        self._models = models
        self._kind = kind
        self._jobs: queue.Queue[tuple[ModelSlot, Job, Any] | None] = queue.Queue(MOST_WAITING[kind])
        self._thread: threading.Thread | None = None

    def offer(self, line: ModelSlot, job: Job, given: Any) -> None:
        """Takes a copy of a request (`job` answers it with a model) and the answer `given`, unless it is too busy."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="shadow", daemon=True)
            self._thread.start()
        try:
            self._jobs.put_nowait((line, job, given))
        except queue.Full:
            self._models.metrics.shadow_dropped.labels(self._kind).inc()

    def close(self) -> None:
        """Ends the thread after what waits (at the latest with the process); another request would start one again."""
        if self._thread:
            with contextlib.suppress(queue.Full):
                self._jobs.put_nowait(None)
        self._thread = None

    def _work(self) -> None:
        metrics, kind = self._models.metrics, self._kind
        while (found := self._jobs.get()) is not None:
            line, job, given = found
            challenger, trial = line.challenger, line.trial
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
                self._models.failed(kind, line, error)
                continue
            seconds = time.perf_counter() - started
            metrics.answers.labels(*labels, "ok").inc()
            metrics.answer_seconds.labels(*labels).observe(seconds)
            trial.answered(CHALLENGER, seconds)
            self._models.judge(kind, line)
            metrics.disagreement.labels(kind, challenger.version).observe(
                disagreement(kind, given, answer)
            )
