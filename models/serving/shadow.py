"""Lets a challenger answer copies of the requests, where nobody waits for it, and measures how far it departs."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from typing import Any

from models.serving.loaded import CHALLENGER, Line, Loaded, Models
from models.serving.rollout import disagreement

Job = Callable[[Loaded], Any]
MOST_WAITING = 200  # copies; what comes above that is dropped and counted


class Shadow:
    """One thread beside the service."""

    def __init__(self, models: Models) -> None:
        self._models = models
        self._jobs: queue.Queue[tuple[str, Line, Job, Any] | None] = queue.Queue(MOST_WAITING)
        self._thread: threading.Thread | None = None

    def offer(self, kind: str, line: Line, job: Job, given: Any) -> None:
        """Takes a copy of a request (`job` answers it with a model) and the answer `given`, unless it is too busy."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="shadow", daemon=True)
            self._thread.start()
        try:
            self._jobs.put_nowait((kind, line, job, given))
        except queue.Full:
            self._models.metrics.shadow_dropped.labels(kind).inc()

    def close(self) -> None:
        """Ends the thread after what waits; another request would start one again."""
        if self._thread:
            self._jobs.put(None)
        self._thread = None

    def _work(self) -> None:
        metrics = self._models.metrics
        while (found := self._jobs.get()) is not None:
            kind, line, job, given = found
            challenger, trial = line.challenger, line.trial
            if challenger is None or trial is None or trial.stopped:
                continue
            labels = (kind, challenger.version, CHALLENGER)
            started = time.perf_counter()
            try:
                answer = job(challenger)
            except Exception as error:
                metrics.answers.labels(*labels, "error").inc()
                self._models.failed(kind, line, error)
                continue
            metrics.answers.labels(*labels, "ok").inc()
            metrics.answer_seconds.labels(*labels).observe(time.perf_counter() - started)
            metrics.disagreement.labels(kind, challenger.version).observe(disagreement(kind, given, answer))
