"""What the routes share: options, models, and how a request gets its answer."""

from __future__ import annotations

import threading
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
from fastapi import HTTPException, Request
from fastapi.responses import Response

from models.registry.registry import CHALLENGER, CHAMPION
from models.serving.batching import Batcher
from models.serving.loaded import LoadedModel, Models, ModelSlot
from models.serving.rollout import Rollout
from models.serving.shadow import Shadow

TRANSCRIBE = "/v1/transcribe"
CANARY_KEY = "x-canary-key"  # header: requests of one value go to the same model
RETRY_AFTER_S = 5  # for a recording that found no room

Work = Callable[[LoadedModel], Awaitable[Any]]


@dataclass(frozen=True)
class Options:
    """How the service behaves; none of it changes what a model answers."""

    max_body_bytes: int = 256 * 2**20
    max_audio_s: float = 4 * 3600.0
    # Recordings that wait for the recogniser; more are refused with 429.
    max_calls_waiting: int = 8
    rate_per_s: float = 5000.0  # requests of one caller
    poll_s: float = 10.0  # between two looks at the registry
    rollout: Rollout = field(default_factory=Rollout)
    public_key: Path | None = None  # only bundles signed by its owner are served
    # Folder of ONNX exports of recognisers, which are faster; None: transcribe with NeMo.
    exports: Path | None = None


@dataclass(frozen=True)
class Answer:
    """What a model made of a request: the slot it was asked in, its role, itself and its result."""

    slot: ModelSlot
    role: str
    model: LoadedModel
    result: Any


class Service:
    """Models, score batcher, shadow threads and the limit on waiting recordings of one service."""

    def __init__(
        self,
        models: Models,
        options: Options,
        *,
        shadows: Mapping[str, Shadow],
        features: Path | None = None,
    ) -> None:
        """`shadows` maps kind to shadow; `features` is a Parquet table to look customers up in."""
        self.models = models
        self.options = options
        self.features = features
        self.batcher = Batcher()
        self.shadows = dict(shadows)
        self.recordings = threading.BoundedSemaphore(options.max_calls_waiting)
        self.full_message = (
            f"{options.max_calls_waiting} recordings are waiting already. Come back."
        )

    def refuse_if_full(self, path: str) -> str | None:
        """Returns why a request of `path` finds no room, or None where there is some."""
        if path == TRANSCRIBE:
            if not self.recordings.acquire(blocking=False):
                return self.full_message
            self.recordings.release()
        return None

    async def answer(self, kind: str, request: Request, *, key: str, work: Work) -> Answer:
        """Lets the model that `key` falls to do the `work` of a request and returns its answer.

        Where the challenger fails the champion answers, so its failure costs nobody an answer.
        Raises NotLoadedError when `kind` has no model, and whatever the champion raises.
        """
        slot = self.models.slot(kind)
        role, model = slot.choose(key, self.options.rollout)
        failure: Exception | None = None
        if role == CHALLENGER:
            try:
                result = await self._timed(kind, role, slot=slot, model=model, work=work)
            except Exception as error:
                failure, role, model = error, CHAMPION, slot.champion
        if role == CHAMPION:
            result = await self._timed(kind, role, slot=slot, model=model, work=work)
        if failure:  # the champion could answer, so the request was right
            self.models.record_failure(kind, slot, failure)
        request.state.answered_by = {"kind": kind, "version": model.version, "role": role}
        return Answer(slot, role, model, result)

    async def _timed(
        self, kind: str, role: str, *, slot: ModelSlot, model: LoadedModel, work: Work
    ) -> Any:
        """Does the work and records in metrics and trial how long it took, or that it failed."""
        metrics = self.models.metrics
        started = time.perf_counter()
        try:
            result = await work(model)
        except HTTPException:
            raise  # the caller's mistake
        except Exception:
            metrics.answers.labels(kind, model.version, role, "error").inc()
            raise
        seconds = time.perf_counter() - started
        metrics.answers.labels(kind, model.version, role, "ok").inc()
        metrics.answer_seconds.labels(kind, model.version, role).observe(seconds)
        if slot.trial and not slot.trial.stopped:
            slot.trial.record_answer(role, seconds)
            self.models.record_stop(kind, slot)
        return result

    def offer_to_shadow(
        self, kind: str, answer: Answer, *, job: Callable[[LoadedModel], Any], given: Any
    ) -> None:
        """Hands a copy of a request that the champion answered to the challenger, if it shadows."""
        if answer.role == CHAMPION and answer.slot.is_tried("shadow", self.options.rollout):
            self.shadows[kind].offer(answer.slot, job, given)

    def close(self) -> None:
        """Ends the shadow threads and the thread that scores."""
        for shadow in self.shadows.values():
            shadow.close()
        self.batcher.close()


def json_response(content: Any) -> Response:
    """Returns `content` as a JSON response, faster than FastAPI would check and write it."""
    return Response(orjson.dumps(content), media_type="application/json")


def describe_model(kind: str, model: LoadedModel) -> dict[str, str]:
    """Returns the fields of schemas.Version."""
    return {
        "kind": kind,
        "version": model.version,
        "bundle_sha256": model.bundle.sha256,
        "data_hash": model.bundle.data_hash,
    }
