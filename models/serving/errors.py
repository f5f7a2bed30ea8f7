"""Error answers of the service: one format for all, without repeating the input."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from models.serving.loaded import NotLoadedError
from models.serving.schemas import Problem

# What the OpenAPI document says of each status a model's route may answer with.
PROBLEMS: dict[int | str, dict[str, Any]] = {
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
# And of those of the other routes that need a key.
KEY_PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: PROBLEMS[status] for status in (401, 403, 429)
}
_MAX_DETAILS = 20


def add_error_answers(app: FastAPI) -> None:
    """Makes `app` answer every error with a Problem.

    The input is never repeated: NaN in it cannot be written as JSON.
    """

    def answer(
        status: int,
        error: str,
        details: list[dict[str, str]] | None = None,
        *,
        headers: Mapping[str, str] | None = None,
    ) -> JSONResponse:
        return JSONResponse(
            {"error": error, "details": details or []}, status_code=status, headers=headers
        )

    @app.exception_handler(RequestValidationError)
    async def invalid_request(_: Request, error: RequestValidationError) -> JSONResponse:
        details = [
            {"where": ".".join(str(part) for part in item["loc"]), "message": item["msg"]}
            for item in error.errors()[:_MAX_DETAILS]
        ]
        return answer(422, "the request is not right", details)

    @app.exception_handler(HTTPException)
    async def http_error(_: Request, error: HTTPException) -> JSONResponse:
        return answer(error.status_code, str(error.detail), headers=error.headers)

    @app.exception_handler(NotLoadedError)
    async def not_loaded(_: Request, error: NotLoadedError) -> JSONResponse:
        return answer(503, str(error))

    @app.exception_handler(Exception)
    async def internal_error(_: Request, error: Exception) -> JSONResponse:
        return answer(500, "something went wrong here; the service's log says what.")
