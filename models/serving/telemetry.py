"""The service's Prometheus metrics, and its log of JSON lines without anything customers said."""

from __future__ import annotations

import json
import logging
import sys
import traceback
from datetime import UTC, datetime

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 60)


class Metrics:
    """The service's own registry of metrics.

    Figures of answers carry kind, version and role of the model as labels.
    """

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        model = ("kind", "version", "role")
        self.requests = Counter(
            "keepline_requests",
            "Requests answered.",
            ("route", "method", "status"),
            registry=registry,
        )
        self.request_seconds = Histogram(
            "keepline_request_seconds",
            "From request to answer.",
            ("route",),
            buckets=_SECONDS,
            registry=registry,
        )
        self.answers = Counter(
            "keepline_answers",
            "What models were asked, and how it ended: ok or error.",
            (*model, "outcome"),
            registry=registry,
        )
        self.answer_seconds = Histogram(
            "keepline_answer_seconds",
            "What a model took for an answer.",
            model,
            buckets=_SECONDS,
            registry=registry,
        )
        self.holds = Gauge(
            "keepline_model", "1 for each model that is loaded.", model, registry=registry
        )
        self.swaps = Counter(
            "keepline_swaps", "Champions taken up while running.", ("kind",), registry=registry
        )
        self.registry_up = Gauge(
            "keepline_registry_up",
            "1 if the last look at the registry went well.",
            registry=registry,
        )
        self.stopped = Gauge(
            "keepline_challenger_stopped",
            "1 for a challenger that was found unhealthy.",
            ("kind", "version"),
            registry=registry,
        )
        self.disagreement = Histogram(
            "keepline_shadow_disagreement",
            "Champion against shadow: largest difference of a risk, or share of words that differ.",
            ("kind", "version"),
            buckets=(0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1),
            registry=registry,
        )
        self.shadow_dropped = Counter(
            "keepline_shadow_dropped",
            "Copies for the shadow that came while it was busy.",
            ("kind",),
            registry=registry,
        )

    def page(self) -> bytes:
        """Returns all metrics in Prometheus' text format."""
        return generate_latest(self.registry)


class JsonLines(logging.Formatter):
    """A log record as one line of JSON; of an exception its type and places, never its message.

    The message of another library's exception may quote what a customer said or is; the places
    where it was raised do not.
    """

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
        }
        fields = getattr(record, "fields", None)
        if fields is None:
            line["message"] = record.getMessage()
        else:
            line.update(fields)
        if record.exc_info and record.exc_info[0]:
            exception, _, trace = record.exc_info
            line["exception"] = exception.__name__
            line["where"] = [
                f"{frame.filename}:{frame.lineno} {frame.name}"
                for frame in traceback.extract_tb(trace)[-8:]
            ]
        return json.dumps(line, ensure_ascii=False, default=str)


def log_json() -> None:
    """Logs this process to stderr as JSON lines: Keepline from INFO, others from WARNING."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    for name in ("models", "flows", "uvicorn"):
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).propagate = True
        logging.getLogger(name).setLevel(logging.INFO)
