"""Declares where a training logs its parameters and metrics, as a protocol."""

from __future__ import annotations

from typing import Any, Protocol


class MetricsLog(Protocol):
    """Receives the metrics of a training. `training.tracking.Run` logs them to MLflow."""

    @property
    def run_id(self) -> str: ...

    def log_metrics(self, metrics: dict[str, float], step: int) -> None: ...


class TrainingRun(MetricsLog, Protocol):
    """Receives the parameters and metrics of a training."""

    def log_params(self, params: dict[str, Any]) -> None: ...


class UnrecordedRun:
    """A run that logs nothing, for trainings whose summary is enough."""

    run_id = "none"

    def log_params(self, params: dict[str, Any]) -> None:
        """Does nothing."""

    def log_metrics(self, metrics: dict[str, float], step: int) -> None:
        """Does nothing."""
