"""The service's description of itself: with the keys it asks for, and the features its champion needs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from models.kinds import CHURN
from models.serving.loaded import Models


def describe(app: FastAPI, models: Models, roles: Mapping[str, str]) -> None:
    """Makes /openapi.json tell the role each path of `roles` needs, and the features the churn champion needs."""
    made: dict[str, dict[str, Any]] = {}

    def document() -> dict[str, Any]:
        line = models.lines.get(CHURN.name)
        version = line.champion.version if line else ""
        if version not in made:
            made.clear()
            found = get_openapi(
                title=app.title, version=app.version, description=app.description, routes=app.routes
            )
            _add_keys(found, roles)
            if line:
                _add_features(found, line.champion.model.config.columns)
            made[version] = found
        return made[version]

    app.openapi = document  # type: ignore[method-assign]


def _add_keys(found: dict[str, Any], roles: Mapping[str, str]) -> None:
    schemes = found["components"].setdefault("securitySchemes", {})
    schemes["key"] = {
        "type": "http",
        "scheme": "bearer",
        "description": "Needed where the service was given keys.",
    }
    for path, role in roles.items():
        for operation in found["paths"].get(path, {}).values():
            operation["security"] = [{"key": []}]
            operation["description"] = (
                f"{operation.get('description', '')}\n\nRole: {role} (or admin).".strip()
            )


def _add_features(found: dict[str, Any], columns: Any) -> None:
    """Names each feature, with its meaning and type, where FastAPI only knows that there are some."""
    properties = {
        column.name: {
            "type": ["string", "number", "boolean", "null"]
            if column.kind == "categorical"
            else ["number", "boolean", "null"],
            "description": column.meaning,
        }
        for column in columns
    }
    features = found["components"]["schemas"]["ChurnRow"]["properties"]["features"]
    features.update(properties=properties, required=[column.name for column in columns])
