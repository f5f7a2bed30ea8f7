"""The service's log lines and metrics: fields as JSON, exceptions without their words."""

from __future__ import annotations

import json
import logging
import sys

from models.serving.telemetry import JsonLines, Metrics

SECRET = "cancel my contract, said Wilhelmine"


def log_line(message: str, **extra: object) -> dict[str, object]:
    record = logging.LogRecord("models.x", logging.INFO, __file__, 1, message, None, None)
    record.__dict__.update(extra)
    line: dict[str, object] = json.loads(JsonLines().format(record))
    return line


def test_a_record_is_one_line_of_json_with_its_message_or_fields() -> None:
    plain = log_line("two\nlines")
    assert (plain["level"], plain["logger"], plain["message"]) == ("info", "models.x", "two\nlines")
    fields = log_line("request", fields={"event": "request", "status": 200})
    assert (fields["event"], fields["status"]) == ("request", 200)
    assert "message" not in fields


def test_an_exception_is_logged_by_type_and_place_without_its_words() -> None:
    try:
        raise ValueError(SECRET)
    except ValueError:
        record = logging.LogRecord(
            "models.x", logging.ERROR, __file__, 1, "it failed", None, sys.exc_info()
        )
    line = JsonLines().format(record)
    assert "Wilhelmine" not in line
    assert json.loads(line)["exception"] == "ValueError"
    assert "test_telemetry.py" in json.loads(line)["where"][0]


def test_two_services_count_apart() -> None:
    first, other = Metrics(), Metrics()
    first.swaps.labels("churn").inc()
    assert b'keepline_swaps_total{kind="churn"} 1.0' in first.page()
    assert b"keepline_swaps_total{" not in other.page()
