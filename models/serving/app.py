"""The service itself: /healthz, /readyz, /v1/churn:score and /v1/transcribe."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import polars as pl
from fastapi import FastAPI, File, Form, HTTPException, Request, UploadFile
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException as StarletteHTTPException

from data import audio as audio_files
from models.serving.limits import BodyLimit
from models.serving.loaded import Loaded, Models, NotLoadedError, Resolver
from models.serving.schemas import (
    ChurnAnswer,
    ChurnRequest,
    ChurnRow,
    ChurnScore,
    HeardTurn,
    Problem,
    Readiness,
    TranscribeAnswer,
    Version,
)

KINDS = ("churn", "asr")
MAX_BODY_BYTES = 256 * 2**20
MAX_AUDIO_S = 4 * 3600.0
_PROBLEMS: dict[int | str, dict[str, Any]] = {
    413: {"model": Problem, "description": "The body is too large."},
    422: {"model": Problem, "description": "The request is not right; details say where."},
    503: {"model": Problem, "description": "There is no champion to answer with."},
}


def create_app(
    resolver: Resolver,
    kinds: Sequence[str] = KINDS,
    features: Path | None = None,
    max_body_bytes: int = MAX_BODY_BYTES,
    max_audio_s: float = MAX_AUDIO_S,
) -> FastAPI:
    """The service for what `resolver` finds for each of `kinds`; models load in the background when it starts.

    `features` is a features table (Parquet) to look customers up in by id. `app.state.models` holds the models.
    """
    models = Models(resolver, kinds)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        # In the background, so that /healthz answers while a recogniser takes its 20 s to load.
        threading.Thread(target=models.load, name="load-models", daemon=True).start()
        yield

    app = FastAPI(
        title="Keepline",
        version="1",
        description="Who is likely to leave, and what was said: answers of the promoted models.",
        lifespan=lifespan,
    )
    app.state.models = models
    app.add_middleware(BodyLimit, max_bytes=max_body_bytes)
    _add_error_answers(app)

    @app.get("/healthz", summary="Is the process alive")
    def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/readyz", summary="Which versions answer", responses={503: {"model": Readiness}})
    def readyz() -> JSONResponse:
        loaded = {kind: _version(kind, found) for kind, found in models.loaded.items()}
        said = Readiness(ready=models.ready, models=loaded, problems=models.problems)
        return JSONResponse(said.model_dump(), status_code=200 if said.ready else 503)

    @app.post(
        "/v1/churn:score",
        summary="Risk of leaving for customers given by features or by id",
        responses={**_PROBLEMS, 404: {"model": Problem, "description": "A customer is not in the features table."}},
    )
    def score(asked: ChurnRequest) -> ChurnAnswer:
        loaded = models.get("churn")
        columns = loaded.model.config.columns
        frame = _frame(asked.rows, columns) if asked.rows else _looked_up(asked.customer_ids, features)
        risks = loaded.model.predict(frame)
        names = [name for name in risks.columns if name not in ("customer_id", "as_of")]
        scores = [
            ChurnScore(
                customer_id=row["customer_id"], as_of=row.get("as_of"), risks={name: row[name] for name in names}
            )
            for row in risks.iter_rows(named=True)
        ]
        return ChurnAnswer(model=_version("churn", loaded), scores=scores)

    @app.post("/v1/transcribe", summary="A recording as turns with words and times", responses=_PROBLEMS)
    def transcribe(
        recording: Annotated[UploadFile, File(description="a WAV file of one or two channels")],
        customer_channel: Annotated[
            Literal["0", "1"], Form(description="which of two channels the customer is on, counting from 0")
        ] = "0",
    ) -> TranscribeAnswer:
        loaded = models.get("asr")
        samples, rate = _decoded(recording, max_audio_s)
        if samples.shape[1] == 1:
            roles = {0: "customer"}
        else:
            roles = {int(customer_channel): "customer", 1 - int(customer_channel): "agent"}
        with models.listening:
            turns = loaded.model.transcribe_call(samples, rate, roles)
        return TranscribeAnswer(
            model=_version("asr", loaded),
            duration_s=round(len(samples) / rate, 3),
            channels=samples.shape[1],
            turns=[HeardTurn.model_validate(asdict(turn)) for turn in turns],
        )

    return app


def serve(host: str, port: int, resolver: Resolver, kinds: Sequence[str] = KINDS, features: Path | None = None) -> None:
    """Answers requests until interrupted."""
    import uvicorn

    uvicorn.run(create_app(resolver, kinds, features), host=host, port=port, log_level="info")


def _version(kind: str, loaded: Loaded) -> Version:
    return Version(
        kind=kind,
        version=loaded.version,
        bundle_sha256=loaded.bundle.sha256,
        data_hash=loaded.bundle.data_hash,
    )


def _frame(rows: Sequence[ChurnRow], columns: Sequence[Any]) -> pl.DataFrame:
    """Rows as the model's frame; 422 naming the row and the feature that is missing or of the wrong kind."""
    values: dict[str, list[Any]] = {column.name: [] for column in columns}
    for number, row in enumerate(rows):
        for column in columns:
            where = f"rows.{number}.features.{column.name}"
            if column.name not in row.features:
                raise HTTPException(422, f"{where}: missing. Send every feature of the model, null where unknown.")
            value = row.features[column.name]
            if value is not None and column.kind == "numeric":
                if isinstance(value, str):
                    raise HTTPException(422, f"{where}: must be a number.")
                value = float(value)
            elif isinstance(value, bool):
                value = str(value).lower()  # as polars writes it, and so as the model has learned it
            elif isinstance(value, float):
                value = f"{value:g}"
            values[column.name].append(value)
    return pl.DataFrame(
        {
            "customer_id": pl.Series([row.customer_id for row in rows], dtype=pl.String),
            "as_of": pl.Series([row.as_of for row in rows], dtype=pl.Date),
            **{
                column.name: pl.Series(
                    values[column.name], dtype=pl.Float64 if column.kind == "numeric" else pl.String
                )
                for column in columns
            },
        }
    )  # fmt: skip


def _looked_up(customer_ids: Sequence[str], features: Path | None) -> pl.DataFrame:
    """Each customer's latest row of the features table, in the order asked for."""
    if features is None or not features.exists():
        raise HTTPException(422, "customer_ids: this service has no features table. Send rows.")
    found = (
        pl.scan_parquet(features)
        .filter(pl.col("customer_id").is_in(list(customer_ids)))
        .sort("as_of")
        .unique("customer_id", keep="last", maintain_order=True)
        .collect()
    )
    unknown = sorted(set(customer_ids) - set(found["customer_id"].to_list()))
    if unknown:
        more = f" and {len(unknown) - 5} more" if len(unknown) > 5 else ""
        raise HTTPException(404, f"customer_ids: not in the features table: {', '.join(unknown[:5])}{more}.")
    asked = pl.DataFrame({"customer_id": pl.Series(customer_ids, dtype=pl.String)})
    return asked.join(found, on="customer_id", how="left", maintain_order="left")


def _decoded(recording: UploadFile, max_audio_s: float) -> tuple[np.ndarray, int]:
    """float32 [frames, channels] and the rate; 422 for what is no recording we can hear."""
    name = recording.filename or "recording"
    content = recording.file.read()
    try:
        info = audio_files.probe(content, name)
        if info.channels > 2:
            raise HTTPException(422, f"{name}: {info.channels} channels; one or two can be told apart.")
        if info.duration_s > max_audio_s:  # a few kilobytes of FLAC can hold days of silence
            raise HTTPException(422, f"{name}: {info.duration_s:.0f} s long; at most {max_audio_s:.0f} s are heard.")
        samples, rate = audio_files.read(content, name)
    except audio_files.AudioError as error:
        raise HTTPException(422, str(error)) from error
    if not np.isfinite(samples).all():
        raise HTTPException(422, f"{name}: a sample is not a number. Export it again.")
    return samples, rate


def _add_error_answers(app: FastAPI) -> None:
    """Every refusal as a Problem. The input is never repeated: NaN in it cannot be written as JSON."""

    def answer(status: int, error: str, details: list[dict[str, str]] | None = None) -> JSONResponse:
        return JSONResponse({"error": error, "details": details or []}, status_code=status)

    @app.exception_handler(RequestValidationError)
    def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        details = [
            {"where": ".".join(str(part) for part in found["loc"]), "message": found["msg"]}
            for found in error.errors()[:20]
        ]
        return answer(422, "the request is not right", details)

    @app.exception_handler(StarletteHTTPException)
    def refused(_: Request, error: StarletteHTTPException) -> JSONResponse:
        return answer(error.status_code, str(error.detail))

    @app.exception_handler(NotLoadedError)
    def not_loaded(_: Request, error: NotLoadedError) -> JSONResponse:
        return answer(503, str(error))

    @app.exception_handler(Exception)
    def our_fault(_: Request, error: Exception) -> JSONResponse:
        return answer(500, "something went wrong here; the service's log says what.")
