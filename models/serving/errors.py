"""Every refusal and every fault as the same kind of answer, without repeating what was sent."""

from __future__ import annotations

from collections.abc import Mapping

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from models.serving.loaded import NotLoadedError


def add_error_answers(app: FastAPI) -> None:
    """Answers with a Problem. The input is never repeated: NaN in it cannot be written as JSON."""

    def answer(
        status: int,
        error: str,
        details: list[dict[str, str]] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> JSONResponse:
        return JSONResponse(
            {"error": error, "details": details or []}, status_code=status, headers=headers
        )

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        details = [
            {"where": ".".join(str(part) for part in found["loc"]), "message": found["msg"]}
            for found in error.errors()[:20]
        ]
        return answer(422, "the request is not right", details)

    @app.exception_handler(HTTPException)
    async def refused(_: Request, error: HTTPException) -> JSONResponse:
        return answer(error.status_code, str(error.detail), headers=error.headers)

    @app.exception_handler(NotLoadedError)
    async def not_loaded(_: Request, error: NotLoadedError) -> JSONResponse:
        return answer(503, str(error))

    @app.exception_handler(Exception)
    async def our_fault(_: Request, error: Exception) -> JSONResponse:
        return answer(500, "something went wrong here; the service's log says what.")
