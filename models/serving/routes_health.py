"""Routes that say how the service is: /healthz, /readyz, /metrics, /v1/models and its refresh."""

from __future__ import annotations

from fastapi import FastAPI
from fastapi.responses import JSONResponse, Response
from starlette.concurrency import run_in_threadpool

from models.serving.errors import KEY_PROBLEMS
from models.serving.loaded import Models
from models.serving.schemas import Challenger, Readiness, State, Version
from models.serving.service import Service, describe_model


def add_health_routes(app: FastAPI, service: Service) -> None:
    """Adds the routes that say whether the process lives and which models answer."""
    models = service.models

    @app.get("/healthz", summary="Is the process alive")
    async def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @app.get(
        "/readyz",
        summary="Which versions answer",
        response_model=Readiness,
        responses={503: {"model": Readiness}},
    )
    async def readyz() -> JSONResponse:
        return JSONResponse(
            _readiness(models).model_dump(), status_code=200 if models.ready else 503
        )

    @app.get(
        "/metrics",
        summary="Figures for Prometheus",
        response_class=Response,
        responses=KEY_PROBLEMS,
    )
    async def metrics() -> Response:
        return Response(
            models.metrics.page(), media_type="text/plain; version=0.0.4; charset=utf-8"
        )

    @app.get("/v1/models", summary="Champions, challengers and how they do", responses=KEY_PROBLEMS)
    async def state() -> State:
        return _state(models)

    @app.post("/v1/models:refresh", summary="Look for other models now", responses=KEY_PROBLEMS)
    async def refresh() -> State:
        await run_in_threadpool(models.refresh)
        return _state(models)


def _readiness(models: Models) -> Readiness:
    versions = {
        kind: Version(**describe_model(kind, slot.champion)) for kind, slot in models.slots.items()
    }
    return Readiness(
        ready=models.ready, models=versions, problems=models.problems, warnings=models.warnings
    )


def _state(models: Models) -> State:
    challengers = {
        kind: Challenger(
            version=Version(**describe_model(kind, slot.challenger)), stopped=slot.trial.stopped
        )
        for kind, slot in models.slots.items()
        if slot.challenger and slot.trial
    }
    return State(
        **_readiness(models).model_dump(),
        rollout=models.rollout.mode,
        canary_share=models.rollout.share,
        challengers=challengers,
        details=models.details,
    )
