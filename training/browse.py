"""Lists runs fast enough to browse: a SQLite store is read directly, any other through MLflow.

Importing MLflow takes seconds, which is longer than reading a thousand runs. Its tables of runs,
metrics, parameters and tags are read, never written; a database with other tables is left to MLflow
(docs/decisions/0005).
"""

from __future__ import annotations

import operator
import re
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_CONDITION = re.compile(r"\s*([\w.]+)\s*(<=|>=|!=|<|>|=)\s*(.+?)\s*")
_RELATIONS: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "=": operator.eq,
    "!=": operator.ne,
}


Curves = dict[str, list[tuple[int, float]]]
_MIN_STEPS = 3  # a curve has at least so many points


class BrowseError(ValueError):
    """A condition cannot be read."""


def browse(
    tracking_uri: str,
    where: Sequence[str] = (),
    *,
    sort: str | None = None,
    limit: int | None = None,
) -> list[dict[str, Any]]:
    """Returns runs as `training.tracking.get_run` does (without inputs), newest first.

    With `sort` they come by that metric, least first. `where` are conditions such as
    `test_wer<0.4`, `asr.steps>=600`, `kind=asr` or `verdict!=refused`, on metrics, parameters,
    tags, status and name; a run without that name does not meet a condition. Raises BrowseError.
    """
    conditions = [_parse_condition(text) for text in where]
    runs = [
        run
        for run in _read_runs(tracking_uri)
        if all(condition.is_met(run) for condition in conditions)
    ]
    if sort is not None:
        runs = sorted(
            (run for run in runs if sort in run["metrics"]), key=lambda run: run["metrics"][sort]
        )
    return runs[:limit]


def learning_curves(tracking_uri: str, run_id: str) -> Curves:
    """Returns what a run logged step by step: metric → (step, value), in order of steps.

    Metrics with fewer than three steps are left out.
    """
    rows = _curve_rows(tracking_uri, run_id)
    curves: Curves = {}
    for name, step, value in sorted(rows):
        curves.setdefault(name, []).append((step, value))
    return {name: points for name, points in curves.items() if len(points) >= _MIN_STEPS}


def _curve_rows(tracking_uri: str, run_id: str) -> list[tuple[str, int, float]]:
    if tracking_uri.startswith("sqlite:///"):
        path = Path(tracking_uri.removeprefix("sqlite:///"))
        try:
            with closing(
                sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=10)
            ) as database:
                return [
                    (str(name), int(step), float(value))
                    for name, step, value in database.execute(
                        "SELECT key, step, value FROM metrics WHERE run_uuid = ? AND is_nan = 0",
                        [run_id],
                    )
                ]
        except sqlite3.OperationalError:  # tables of another version of MLflow
            pass
    from training.tracking import metric_histories

    return metric_histories(tracking_uri, run_id)


@dataclass(frozen=True)
class _Condition:
    """A condition on a run, such as test_wer<0.4."""

    name: str
    relation: str
    value: str

    def is_met(self, run: dict[str, Any]) -> bool:
        """Returns whether `run` meets it: as numbers where both are, else as text by = and !=."""
        attributes = {"status": run["status"], "name": run["name"]}
        fields = (run["metrics"], run["params"], run["tags"], attributes)
        value = next((field[self.name] for field in fields if self.name in field), None)
        if value is None:
            return False
        compare = _RELATIONS[self.relation]
        try:
            return bool(compare(float(value), float(self.value)))
        except ValueError:
            return self.relation in ("=", "!=") and bool(compare(str(value), self.value))


def _parse_condition(text: str) -> _Condition:
    match = _CONDITION.fullmatch(text)
    if not match:
        raise BrowseError(
            f"condition {text!r}: write a name, one of < <= > >= = !=, and a value, as in "
            "test_wer<0.4."
        )
    return _Condition(*match.groups())


def _read_runs(tracking_uri: str) -> list[dict[str, Any]]:
    if tracking_uri.startswith("sqlite:///"):
        path = Path(tracking_uri.removeprefix("sqlite:///"))
        if not path.exists():
            return []
        try:
            with closing(
                sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=10)
            ) as database:
                return _read_database(database)
        except sqlite3.OperationalError:  # tables of another version of MLflow
            pass
    from training.tracking import list_runs

    return list_runs(tracking_uri, limit=50_000)


def _read_database(database: sqlite3.Connection) -> list[dict[str, Any]]:
    runs = {
        row[0]: {
            "run_id": row[0],
            "name": row[1],
            "experiment_id": str(row[2]),
            "status": row[3],
            "start_time": row[4],
            "params": {},
            "metrics": {},
            "tags": {},
        }
        for row in database.execute(
            "SELECT run_uuid, name, experiment_id, status, start_time FROM runs "
            "WHERE lifecycle_stage = 'active' ORDER BY start_time DESC, run_uuid"
        )
    }
    queries = {
        "metrics": "SELECT run_uuid, key, value FROM latest_metrics WHERE is_nan = 0",
        "params": "SELECT run_uuid, key, value FROM params",
        "tags": "SELECT run_uuid, key, value FROM tags WHERE key NOT LIKE 'mlflow.%'",
    }
    for field, query in queries.items():
        _add_values(runs, field, database.execute(query))
    return list(runs.values())


def _add_values(
    runs: dict[str, dict[str, Any]], field: str, rows: Iterable[tuple[str, str, Any]]
) -> None:
    """Adds (run id, key, value) `rows` to a field of the runs; rows of deleted runs are skipped."""
    for run_id, key, value in rows:
        if run_id in runs:
            runs[run_id][field][key] = value
