"""The service's OpenAPI document: with the keys it needs and the features its champion needs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from models.kinds import CHURN
from models.serving.loaded import Models


def install(app: FastAPI, models: Models, roles: Mapping[str, str]) -> None:
    """Makes /openapi.json name the role of each path in `roles` and the churn champion's features.

    The document is built once for each version of the champion.
    """
    documents: dict[str, dict[str, Any]] = {}

    def build() -> dict[str, Any]:
        slot = models.slots.get(CHURN.name)
        version = slot.champion.version if slot else ""
        if version not in documents:
            documents.clear()
            document = get_openapi(
                title=app.title, version=app.version, description=app.description, routes=app.routes
            )
            _add_keys(document, roles)
            if slot:
                _add_features(document, slot.champion.model.config.columns)
            documents[version] = document
        return documents[version]

    app.openapi = build  # type: ignore[method-assign]


def _add_keys(document: dict[str, Any], roles: Mapping[str, str]) -> None:
    schemes = document["components"].setdefault("securitySchemes", {})
    schemes["key"] = {
        "type": "http",
        "scheme": "bearer",
        "description": "Needed where the service was given keys.",
    }
    for path, role in roles.items():
        for operation in document["paths"].get(path, {}).values():
            operation["security"] = [{"key": []}]
            operation["description"] = (
                f"{operation.get('description', '')}\n\nRole: {role} (or admin).".strip()
            )


def _add_features(document: dict[str, Any], columns: Any) -> None:
    """Names each feature, with meaning and type; FastAPI knows only that there are some."""
    properties = {
        column.name: {
            "type": ["string", "number", "boolean", "null"]
            if column.kind == "categorical"
            else ["number", "boolean", "null"],
            "description": column.meaning,
        }
        for column in columns
    }
    features = document["components"]["schemas"]["ChurnRow"]["properties"]["features"]
    features.update(properties=properties, required=[column.name for column in columns])
