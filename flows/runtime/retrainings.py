"""Lets one cause start one retraining a day, however often it is told of."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from prefect.runtime import flow_run as running

from data import artefacts
from data.files import read_json

if TYPE_CHECKING:
    from flows.runtime.context import RunContext


def claim_day(context: RunContext, cause: str) -> bool:
    """Takes the day's retraining for a cause; returns False where another flow has taken it.

    The flow that took it may take it again, so a restart of the same flow run goes on.
    """
    day = context.now().date().isoformat()
    slug = "".join(letter if letter.isalnum() else "-" for letter in cause)
    path = context.path(artefacts.RETRAININGS.within(f"{day}-{slug}.json"))
    path.parent.mkdir(parents=True, exist_ok=True)
    ours = {"cause": cause, "day": day, "flow_run": str(running.id)}
    try:
        with path.open("x", encoding="utf-8") as handle:
            handle.write(json.dumps(ours))
    except FileExistsError:
        return bool(read_json(path) == ours)
    return True
