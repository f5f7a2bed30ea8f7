"""The route /v1/transcribe: a recording as turns with words and times."""

from __future__ import annotations

import hashlib
from dataclasses import asdict
from typing import Annotated, Any, Literal

from fastapi import FastAPI, File, Form, HTTPException, Request, UploadFile
from fastapi.responses import Response
from starlette.concurrency import run_in_threadpool

from models.kinds import ASR
from models.serving.errors import PROBLEMS
from models.serving.loaded import LoadedModel
from models.serving.questions import check_recording
from models.serving.schemas import TranscribeAnswer, TranscriptTurn, Version
from models.serving.service import (
    CANARY_KEY,
    RETRY_AFTER_S,
    TRANSCRIBE,
    Service,
    describe_model,
    json_response,
)
from models.serving.shadow import BusyError


def add_transcribe_route(app: FastAPI, service: Service) -> None:
    """Adds /v1/transcribe. One recording is transcribed at a time; a few may wait."""
    models = service.models

    @app.post(
        TRANSCRIBE,
        summary="A recording as turns with words and times",
        response_model=TranscribeAnswer,
        responses=PROBLEMS,
    )
    async def transcribe(
        request: Request,
        recording: Annotated[UploadFile, File(description="a WAV file of one or two channels")],
        customer_channel: Annotated[
            Literal["0", "1"],
            Form(description="which of two channels the customer is on, counting from 0"),
        ] = "0",
    ) -> Response:
        models.slot(ASR.name)  # raises at once when there is no model
        # There was room when the upload began, but others may have come since.
        if not service.recordings.acquire(blocking=False):
            raise HTTPException(429, service.full_message, {"retry-after": str(RETRY_AFTER_S)})
        try:
            content = await recording.read()
            info = await run_in_threadpool(
                check_recording, content, recording.filename, service.options.max_audio_s
            )
            if info.channels == 1:
                roles = {0: "customer"}
            else:
                roles = {int(customer_channel): "customer", 1 - int(customer_channel): "agent"}

            def transcribe_with(model: LoadedModel) -> Any:
                with models.transcribing:
                    return model.model.transcribe_file(content, roles)

            def transcribe_in_shadow(model: LoadedModel) -> Any:
                # Begins only while no request is transcribed, and holds up none that comes then.
                if models.transcribing.locked():
                    raise BusyError
                return model.model.transcribe_file(content, roles)

            answer = await service.answer(
                ASR.name,
                request,
                key=request.headers.get(CANARY_KEY) or hashlib.sha256(content).hexdigest(),
                work=lambda model: run_in_threadpool(transcribe_with, model),
            )
        finally:
            service.recordings.release()
        turns = answer.result
        service.offer_to_shadow(ASR.name, answer, job=transcribe_in_shadow, given=turns)
        body = TranscribeAnswer(
            model=Version(**describe_model(ASR.name, answer.model)),
            duration_s=round(info.duration_s, 3),
            channels=info.channels,
            turns=[TranscriptTurn.model_validate(asdict(turn)) for turn in turns],
        )
        return json_response(body.model_dump())
