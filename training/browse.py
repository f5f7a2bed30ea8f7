"""Lists runs fast enough to browse: a SQLite store is read directly, any other through MLflow.

Importing MLflow takes seconds, which is longer than looking at a thousand runs. Its tables of runs, metrics, parameters
and tags are read, never written; a database with other tables is left to MLflow (docs/decisions/0005).
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

_CONDITION = re.compile(r"\s*([\w.]+)\s*(<=|>=|!=|<|>|=)\s*(.+?)\s*")
_TOLD = {
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
    "=": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
}


class BrowseError(ValueError):
    """A condition cannot be read."""


def browse(
    tracking_uri: str,
    where: Sequence[str] = (),
    *,
    sort: str | None = None,
    limit: int | None = None,
) -> list[dict[str, Any]]:
    """Runs as `training.tracking.get_run` gives them (less inputs), newest first or by the metric `sort`, least first.

    `where` are conditions such as `test_wer<0.4`, `asr.steps>=600`, `kind=asr` or `verdict!=refused`, on metrics,
    parameters, tags, status and name; a run without the thing named does not meet a condition. Raises BrowseError.
    """
    wanted = [_condition(text) for text in where]
    runs = [run for run in _all(tracking_uri) if all(_meets(run, *one) for one in wanted)]
    if sort is not None:
        runs = sorted(
            (run for run in runs if sort in run["metrics"]), key=lambda run: run["metrics"][sort]
        )
    return runs[:limit]


def _condition(text: str) -> tuple[str, str, str]:
    found = _CONDITION.fullmatch(text)
    if not found:
        raise BrowseError(
            f"condition {text!r}: write a name, one of < <= > >= = !=, and a value, as in test_wer<0.4."
        )
    name, relation, value = found.groups()
    return name, relation, value


def _meets(run: dict[str, Any], name: str, relation: str, value: str) -> bool:
    places = (
        run["metrics"],
        run["params"],
        run["tags"],
        {"status": run["status"], "name": run["name"]},
    )
    held = next((place[name] for place in places if name in place), None)
    if held is None:
        return False
    try:
        return bool(_TOLD[relation](float(held), float(value)))
    except ValueError:
        return bool(_TOLD[relation](str(held), value)) if relation in ("=", "!=") else False


def _all(tracking_uri: str) -> list[dict[str, Any]]:
    if tracking_uri.startswith("sqlite:///"):
        path = Path(tracking_uri.removeprefix("sqlite:///"))
        if not path.exists():
            return []
        try:
            with closing(
                sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=10)
            ) as base:
                return _read(base)
        except sqlite3.OperationalError:  # tables MLflow did not have when this was written
            pass
    from training.tracking import list_runs

    return list_runs(tracking_uri, limit=50_000)


def _read(base: sqlite3.Connection) -> list[dict[str, Any]]:
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
        for row in base.execute(
            "SELECT run_uuid, name, experiment_id, status, start_time FROM runs WHERE lifecycle_stage = 'active' "
            "ORDER BY start_time DESC, run_uuid"
        )
    }
    _put(
        runs,
        "metrics",
        base.execute("SELECT run_uuid, key, value FROM latest_metrics WHERE is_nan = 0"),
    )
    _put(runs, "params", base.execute("SELECT run_uuid, key, value FROM params"))
    _put(
        runs,
        "tags",
        base.execute("SELECT run_uuid, key, value FROM tags WHERE key NOT LIKE 'mlflow.%'"),
    )
    return list(runs.values())


def _put(runs: dict[str, dict[str, Any]], place: str, rows: Iterable[tuple[str, str, Any]]) -> None:
    for run_id, key, value in rows:
        if run_id in runs:
            runs[run_id][place][key] = value
