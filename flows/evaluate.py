"""The nightly flow: is what serves today still as good as when it was promoted?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prefect import flow, get_run_logger

from flows import wiring
from flows.retrain import step


@flow(name="evaluate", flow_run_name="evaluate {store}", persist_result=False)
def evaluate(store: str | None = None) -> dict[str, Any]:
    """Scores the champions on today's test data, logs them to MLflow and says which have become worse."""
    street = wiring.street(store=Path(store) if store else None)
    found = step("nightly", street)
    worse = [kind for kind, one in found["models"].items() if one["verdict"] == "worse"]
    log = get_run_logger()
    for kind in worse:
        log.warning("champion %s is worse than when it was promoted: %s", kind, found["models"][kind]["sentence"])
    return {**found, "worse": worse}
