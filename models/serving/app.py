"""The service itself: /v1/churn:score, /v1/transcribe, /healthz, /readyz, /metrics, and /v1/models for its keepers."""

from __future__ import annotations

import gc
import hashlib
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import orjson
from fastapi import FastAPI, File, Form, HTTPException, Request, UploadFile
from fastapi.responses import JSONResponse, Response
from starlette.concurrency import run_in_threadpool

from models.kinds import ASR, CHURN, kinds
from models.serving import openapi
from models.serving.access import Access, Rate
from models.serving.access_middleware import AccessMiddleware
from models.serving.batching import Batcher, score_rows
from models.serving.errors import add_error_answers
from models.serving.limits import BodyLimit
from models.serving.loaded import CHALLENGER, CHAMPION, Loaded, Models, ModelSlot, Resolver, Stopped
from models.serving.questions import audible, feature_values, looked_up
from models.serving.rollout import Rollout
from models.serving.schemas import (
    Challenger,
    ChurnAnswer,
    ChurnRequest,
    HeardTurn,
    Problem,
    Readiness,
    State,
    TranscribeAnswer,
    Version,
)
from models.serving.shadow import BusyError, Shadow

KINDS = tuple(kind.name for kind in kinds() if kind.served)
# Which role opens which path; the others are open to all.
ROLES = {
    "/v1/churn:score": "score",
    "/v1/transcribe": "transcribe",
    "/v1/models": "admin",
    "/v1/models:refresh": "admin",
    "/metrics": "metrics",
}
_PROBLEMS: dict[int | str, dict[str, Any]] = {
    400: {"model": Problem, "description": "The body cannot be read at all."},
    401: {"model": Problem, "description": "No known key, where keys are asked for."},
    403: {"model": Problem, "description": "The key lacks the role."},
    413: {"model": Problem, "description": "The body is too large."},
    422: {"model": Problem, "description": "The request is not right; details say where."},
    429: {
        "model": Problem,
        "description": "Too much at a time; Retry-After says when to come back.",
    },
    503: {"model": Problem, "description": "There is no champion to answer with."},
}
_KEPT: dict[int | str, dict[str, Any]] = {status: _PROBLEMS[status] for status in (401, 403, 429)}


@dataclass(frozen=True)
class Options:
    """How the service behaves; none of it changes what a model answers."""

    max_body_bytes: int = 256 * 2**20
    max_audio_s: float = 4 * 3600.0
    max_calls_waiting: int = (
        8  # recordings that wait for the recogniser; more are told to come back
    )
    rate_per_s: float = 5000.0  # requests of one caller
    poll_s: float = 10.0  # between two looks for other models
    rollout: Rollout = field(default_factory=Rollout)
    public_key: Path | None = None  # only bundles signed by its owner are served
    exports: Path | None = (
        None  # folder of recognisers' exports, which hear faster; None: hear with NeMo
    )


def create_app(
    champions: Resolver,
    kinds: Sequence[str] = KINDS,
    features: Path | None = None,
    options: Options = Options(),
    challengers: Resolver | None = None,
    access: Access | None = None,
    memory: Path | None = None,
    stopped: Stopped | None = None,
) -> FastAPI:
    """The service of what `champions` finds for each of `kinds`; models load in the background when it starts.

    `features` is a features table (Parquet) to look customers up in by id; `challengers` finds what a rollout tries;
    without `access` nobody needs a key. `memory` is the folder in which it remembers what it served, `stopped` is told
    of a challenger found unhealthy. `app.state.models` holds the models.
    """
    models = Models(
        champions,
        kinds,
        challengers,
        options.rollout,
        options.public_key,
        exports=options.exports,
        memory=memory,
        stopped=stopped,
    )
    batcher, shadows = Batcher(), {kind: Shadow(models, kind) for kind in KINDS}
    waiting = threading.BoundedSemaphore(options.max_calls_waiting)
    no_room = f"{options.max_calls_waiting} recordings are waiting already. Come back."

    def full(path: str) -> str | None:
        if path == "/v1/transcribe":
            if not waiting.acquire(blocking=False):
                return no_room
            waiting.release()
        return None

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        stop = threading.Event()

        def watch() -> None:
            while not stop.is_set():
                held = models.lines
                models.refresh()
                if models.lines != held:
                    gc.freeze()  # a full collection through torch's half a million objects stops answers for 0.3 s
                if access:
                    access.refresh()
                stop.wait(options.poll_s)

        # In the background: /healthz answers while a recogniser takes its 20 s to load, and a registry that does not
        # answer keeps nobody waiting.
        threading.Thread(target=watch, name="watch-models", daemon=True).start()
        yield
        stop.set()
        for shadow in shadows.values():
            shadow.close()
        batcher.close()

    app = FastAPI(
        title="Keepline",
        version="1",
        description="Who is likely to leave, and what was said: answers of the promoted models.",
        lifespan=lifespan,
    )
    app.state.models = models
    app.add_middleware(BodyLimit, max_bytes=options.max_body_bytes)
    rate = Rate(options.rate_per_s)
    app.add_middleware(
        AccessMiddleware, roles=ROLES, access=access, rate=rate, metrics=models.metrics, full=full
    )
    add_error_answers(app)
    openapi.describe(app, models, ROLES)

    async def answered(
        kind: str, key: str, request: Request, work: Callable[[Loaded], Awaitable[Any]]
    ) -> tuple[ModelSlot, str, Loaded, Any]:
        """What the model of the request's line makes of it. A challenger that fails costs nobody an answer."""
        line = models.line(kind)
        role, loaded = line.choose(key, options.rollout)
        error: Exception | None = None
        if role == CHALLENGER:
            try:
                found = await timed(kind, role, line, loaded, work)
            except Exception as failed:
                error, role, loaded = failed, CHAMPION, line.champion
        if role == CHAMPION:
            found = await timed(kind, role, line, loaded, work)
        if error:  # the champion could answer it, so the request was right
            models.failed(kind, line, error)
        request.state.answered = {"kind": kind, "version": loaded.version, "role": role}
        return line, role, loaded, found

    async def timed(
        kind: str,
        role: str,
        line: ModelSlot,
        loaded: Loaded,
        work: Callable[[Loaded], Awaitable[Any]],
    ) -> Any:
        started = time.perf_counter()
        try:
            found = await work(loaded)
        except HTTPException:
            raise  # the caller's mistake
        except Exception:
            models.metrics.answers.labels(kind, loaded.version, role, "error").inc()
            raise
        seconds = time.perf_counter() - started
        models.metrics.answers.labels(kind, loaded.version, role, "ok").inc()
        models.metrics.answer_seconds.labels(kind, loaded.version, role).observe(seconds)
        if line.trial and not line.trial.stopped:
            line.trial.answered(role, seconds)
            models.judge(kind, line)
        return found

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

    @app.get("/metrics", summary="Figures for Prometheus", response_class=Response, responses=_KEPT)
    async def metrics() -> Response:
        return Response(
            models.metrics.page(), media_type="text/plain; version=0.0.4; charset=utf-8"
        )

    @app.get("/v1/models", summary="Champions, challengers and how they do", responses=_KEPT)
    async def state() -> State:
        return _state(models)

    @app.post("/v1/models:refresh", summary="Look for other models now", responses=_KEPT)
    async def refresh() -> State:
        await run_in_threadpool(models.refresh)
        return _state(models)

    @app.post(
        "/v1/churn:score",
        summary="Risk of leaving for customers given by features or by id",
        response_model=ChurnAnswer,
        responses={
            **_PROBLEMS,
            404: {"model": Problem, "description": "A customer is not in the features table."},
        },
    )
    async def score(asked: ChurnRequest, request: Request) -> Response:
        table = (
            None if asked.rows else await run_in_threadpool(looked_up, asked.customer_ids, features)
        )
        customers = [row.customer_id for row in asked.rows] or asked.customer_ids
        dates = [row.as_of for row in asked.rows] if table is None else table["as_of"].to_list()

        def values(loaded: Loaded) -> list[Sequence[Any]]:
            return feature_values(asked.rows, table, loaded.model.config.columns)

        key = request.headers.get("x-canary-key") or customers[0]
        line, role, loaded, risks = await answered(
            CHURN.name, key, request, lambda loaded: batcher.score(loaded.model, values(loaded))
        )
        said = _risks(loaded, risks)
        if role == CHAMPION and line.trying("shadow", options.rollout):
            shadows[CHURN.name].offer(
                line, lambda other: _risks(other, score_rows(other.model, values(other))), said
            )
        scores = [
            {"customer_id": customer, "as_of": day, "risks": each}
            for customer, day, each in zip(customers, dates, said, strict=True)
        ]
        return _json({"model": _version(CHURN.name, loaded), "scores": scores})

    @app.post(
        "/v1/transcribe",
        summary="A recording as turns with words and times",
        response_model=TranscribeAnswer,
        responses=_PROBLEMS,
    )
    async def transcribe(
        request: Request,
        recording: Annotated[UploadFile, File(description="a WAV file of one or two channels")],
        customer_channel: Annotated[
            Literal["0", "1"],
            Form(description="which of two channels the customer is on, counting from 0"),
        ] = "0",
    ) -> Response:
        models.line(ASR.name)  # says at once when there is none
        if not waiting.acquire(blocking=False):  # there was room when the upload began
            raise HTTPException(429, no_room, {"retry-after": "5"})
        try:
            content = await recording.read()
            info = await run_in_threadpool(
                audible, content, recording.filename, options.max_audio_s
            )
            if info.channels == 1:
                roles = {0: "customer"}
            else:
                roles = {int(customer_channel): "customer", 1 - int(customer_channel): "agent"}

            def hear(loaded: Loaded) -> Sequence[Any]:
                with models.listening:
                    return loaded.model.transcribe_file(content, roles)  # type: ignore[no-any-return]

            def overhear(other: Loaded) -> Sequence[Any]:
                # Begins only while nobody is heard, and holds up nobody who comes then.
                if models.listening.locked():
                    raise BusyError
                return other.model.transcribe_file(content, roles)  # type: ignore[no-any-return]

            key = request.headers.get("x-canary-key") or hashlib.sha256(content).hexdigest()
            line, role, loaded, turns = await answered(
                ASR.name, key, request, lambda loaded: run_in_threadpool(hear, loaded)
            )
        finally:
            waiting.release()
        if role == CHAMPION and line.trying("shadow", options.rollout):
            shadows[ASR.name].offer(line, overhear, turns)
        answer = TranscribeAnswer(
            model=Version(**_version(ASR.name, loaded)),
            duration_s=round(info.duration_s, 3),
            channels=info.channels,
            turns=[HeardTurn.model_validate(asdict(turn)) for turn in turns],
        )
        return _json(answer.model_dump())

    return app


def serve(app: FastAPI, host: str, port: int, drain_s: float) -> None:
    """Answers requests until told to stop (SIGTERM, Ctrl-C); answers under way then have `drain_s` to finish."""
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


def _json(said: Any) -> Response:
    return Response(orjson.dumps(said), media_type="application/json")


def _risks(loaded: Loaded, risks: Any) -> list[dict[str, float]]:
    names = loaded.model.config.risk_names
    return [dict(zip(names, row, strict=True)) for row in risks.tolist()]


def _version(kind: str, loaded: Loaded) -> dict[str, str]:
    return {
        "kind": kind,
        "version": loaded.version,
        "bundle_sha256": loaded.bundle.sha256,
        "data_hash": loaded.bundle.data_hash,
    }


def _readiness(models: Models) -> Readiness:
    versions = {
        kind: Version(**_version(kind, line.champion)) for kind, line in models.lines.items()
    }
    return Readiness(
        ready=models.ready, models=versions, problems=models.problems, warnings=models.warnings
    )


def _state(models: Models) -> State:
    challengers = {
        kind: Challenger(
            version=Version(**_version(kind, line.challenger)), stopped=line.trial.stopped
        )
        for kind, line in models.lines.items()
        if line.challenger and line.trial
    }
    return State(
        **_readiness(models).model_dump(),
        rollout=models.rollout.mode,
        canary_share=models.rollout.share,
        challengers=challengers,
        details=models.details,
    )
