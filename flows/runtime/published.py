"""What a run publishes in Prefect: artifacts with decisions, figures, hours and links, and events."""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from prefect.artifacts import (
    create_link_artifact,
    create_markdown_artifact,
    create_table_artifact,
)
from prefect.events import emit_event

from data import artefacts
from data.files import read_json

if TYPE_CHECKING:
    from flows.runtime.context import RunContext

DRIFT = "keepline.drift"  # what a site sends has changed, or a model has become worse
PROMOTION = "keepline.promotion"  # a version became champion
_NAMESPACE = uuid.UUID("6a9b2f0e-0f0c-4d56-9a53-7d6f0c1c8f11")  # of the ids of our events


def resource_of(site: str) -> str:
    """Returns the id that a site has in Prefect's events."""
    return f"keepline.site.{site}"


def key_of(*words: str) -> str:
    """Returns the key of an artifact: small letters, digits and dashes."""
    return re.sub(r"[^a-z0-9]+", "-", "-".join(words).lower()).strip("-")


def publish_decision(context: RunContext, kind: str, decided: Mapping[str, Any]) -> None:
    """Publishes a decision as text: the verdict, why, and each check with its sentence."""
    record = read_json(context.path(artefacts.DECISIONS.of(kind)) / decided["record"])
    checks = "\n".join(
        f"| {_cell(check['name'])} | {_cell(check['verdict'])} | {_cell(check['sentence'])} |"
        for check in record["checks"]
    )
    create_markdown_artifact(
        f"# {kind}: {decided['verdict']}\n\n{decided['summary']}\n\n"
        f"Decision `{decided['decision_id']}`, {record['decided_at']}, {record['decided_by']}.\n\n"
        f"| check | verdict | why |\n|---|---|---|\n{checks}\n",
        key=key_of(context.site, "decision", kind),
        description=f"{context.site}: what was decided on the {kind} candidate",
    )


def publish_figures(context: RunContext, kind: str, evaluated: Mapping[str, Any]) -> None:
    """Publishes the metrics of candidate and reference with their 95 % intervals as a table."""
    create_table_artifact(
        [
            {
                "metric": metric,
                "reference": _estimate(evaluated["reference"].get(metric)),
                "candidate": _estimate(evaluated["candidate"].get(metric)),
            }
            for metric in evaluated["candidate"]
            if isinstance(evaluated["candidate"][metric], Mapping)
        ],
        key=key_of(context.site, "figures", kind),
        description=f"{context.site}: {kind} on held-out data, with 95 % intervals",
    )


def publish_hours(context: RunContext) -> None:
    """Publishes where every recorded hour went as a table."""
    account = read_json(context.path(artefacts.HOURS))
    create_table_artifact(
        [
            {
                "reason": reason,
                "hours": round(entry["hours"], 4),
                "a loss": "no" if entry["meant"] else "yes",
            }
            for reason, entry in account["reasons"].items()
        ],
        key=key_of(context.site, "hours"),
        description=(
            f"{context.site}: {account['input_h']:.2f} recorded hours, "
            f"{account['lost_share']:.1%} lost on the way to training"
        ),
    )


def publish_links(context: RunContext, run_ids: Mapping[str, str]) -> None:
    """Publishes where the report and the MLflow runs are; `run_ids` are by kind."""
    report = context.path(artefacts.REPORT.within("index.html"))
    create_link_artifact(
        report.as_uri(),
        link_text=f"report of {context.site}",
        key=key_of(context.site, "report"),
        description=f"{context.site}: the page of the last run, {report}",
    )
    uri = context.settings.tracking_uri.rstrip("/")
    lines = [
        f"- {kind}: [{run_id}]({uri}/#/runs/{run_id})"
        if uri.startswith("http")
        else f"- {kind}: run `{run_id}` of `{uri}` (`keepline ui` opens it)"
        for kind, run_id in run_ids.items()
    ]
    create_markdown_artifact(
        "# MLflow runs\n\n" + "\n".join(lines) + "\n",
        key=key_of(context.site, "mlflow"),
        description=f"{context.site}: the trainings behind the candidates of the last run",
    )


def emit_promotion(context: RunContext, kind: str, released: Mapping[str, Any]) -> None:
    """Tells Prefect that a version became champion."""
    emit_event(
        PROMOTION,
        resource={"prefect.resource.id": resource_of(context.site), "keepline.kind": kind},
        payload={"site": context.site, "kind": kind, "version": released["version"]},
    )


def emit_drift(context: RunContext, request: Mapping[str, Any]) -> uuid.UUID:
    """Tells Prefect that a retraining is due; returns the event's id, the same for one request.

    `request` is the event that the nightly evaluation asks for, with an `id` of its own.
    """
    event_id = uuid.uuid5(_NAMESPACE, str(request["id"]))
    emit_event(
        DRIFT,
        resource={"prefect.resource.id": resource_of(context.site)},
        payload={**request, "site": context.site},
        id=event_id,
    )
    return event_id


def _estimate(value: Mapping[str, Any] | None) -> str:
    """Returns an estimate with its interval for people."""
    if not isinstance(value, Mapping) or value.get("value") is None:
        return "–"
    low, high = value.get("low"), value.get("high")
    interval = "" if low is None or high is None else f" [{low:.4g}, {high:.4g}]"
    return f"{value['value']:.4g}{interval}"


def _cell(text: Any) -> str:
    return str(text).replace("|", "\\|").replace("\n", " ")
