"""The HTTP service: /v1/churn:score, /v1/transcribe, /healthz, /readyz, /metrics and /v1/models."""

from __future__ import annotations

import gc
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI

from models.kinds import kinds as all_kinds
from models.serving import openapi
from models.serving.access import Access, RateLimiter
from models.serving.access_middleware import AccessMiddleware
from models.serving.errors import add_error_answers
from models.serving.limits import BodyLimit
from models.serving.loaded import Models, Resolver, StopListener
from models.serving.routes_health import add_health_routes
from models.serving.routes_score import add_score_route
from models.serving.routes_transcribe import add_transcribe_route
from models.serving.service import TRANSCRIBE, Options, Service
from models.serving.shadow import Shadow

__all__ = ["KINDS", "Options", "create_app", "serve"]

KINDS = tuple(kind.name for kind in all_kinds() if kind.served)
# Which role opens which path; the others are open to all.
ROLES = {
    "/v1/churn:score": "score",
    TRANSCRIBE: "transcribe",
    "/v1/models": "admin",
    "/v1/models:refresh": "admin",
    "/metrics": "metrics",
}


def create_app(
    champions: Resolver,
    kinds: Sequence[str] = KINDS,
    *,
    features: Path | None = None,
    options: Options = Options(),
    challengers: Resolver | None = None,
    access: Access | None = None,
    memory: Path | None = None,
    stopped: StopListener | None = None,
) -> FastAPI:
    """Builds the service of the champions of `kinds`; models load in the background when it starts.

    `champions` and `challengers` find the version to serve or to try. `features` is a features
    table (Parquet) to look customers up in by id. Without `access` nobody needs a key. `memory` is
    the folder in which the service remembers what it served, and `stopped` is called with a
    challenger found unhealthy. `app.state.models` holds the models.
    """
    models = Models(
        champions,
        kinds,
        challengers=challengers,
        rollout=options.rollout,
        public_key=options.public_key,
        exports=options.exports,
        memory=memory,
        stopped=stopped,
    )
    shadows = {kind: Shadow(models, kind) for kind in KINDS}
    service = Service(models, options, shadows=shadows, features=features)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        stop = _start_watching(models, access, options.poll_s)
        yield
        stop.set()
        service.close()

    app = FastAPI(
        title="Keepline",
        version="1",
        description="Who is likely to leave, and what was said: answers of the promoted models.",
        lifespan=lifespan,
    )
    app.state.models = models
    app.add_middleware(BodyLimit, max_bytes=options.max_body_bytes)
    app.add_middleware(
        AccessMiddleware,
        roles=ROLES,
        access=access,
        rate=RateLimiter(options.rate_per_s),
        metrics=models.metrics,
        refuse_if_full=service.refuse_if_full,
    )
    add_error_answers(app)
    openapi.install(app, models, ROLES)
    add_health_routes(app, service)
    add_score_route(app, service)
    add_transcribe_route(app, service)
    return app


def _start_watching(models: Models, access: Access | None, poll_s: float) -> threading.Event:
    """Starts the thread that refreshes models and keys; returns the event that ends it.

    It runs in the background so that /healthz answers while a recogniser takes its 20 s to load,
    and a registry that does not answer keeps nobody waiting.
    """
    stop = threading.Event()

    def watch() -> None:
        while not stop.is_set():
            before = models.slots
            models.refresh()
            if models.slots != before:
                # A full collection through torch's half a million objects stops answers for 0.3 s.
                gc.freeze()
            if access:
                access.refresh()
            stop.wait(poll_s)

    threading.Thread(target=watch, name="watch-models", daemon=True).start()
    return stop


def serve(app: FastAPI, host: str, port: int, *, drain_s: float) -> None:
    """Runs the service until SIGTERM or Ctrl-C; answers under way then have `drain_s` to finish."""
    import uvicorn

    from models.serving.telemetry import log_json

    log_json()
    uvicorn.run(
        app,
        host=host,
        port=port,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=max(1, round(drain_s)),
    )
