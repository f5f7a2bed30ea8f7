"""Checks keys and rates before a request is answered; counts and logs it afterwards, with an id."""

from __future__ import annotations

import json
import logging
import os
import re
import time
from collections.abc import Callable, Mapping

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from models.serving.access import Access, Caller, RateLimiter
from models.serving.telemetry import Metrics

log = logging.getLogger(__name__)
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_RETRY_WHEN_FULL_S = 5
Refusal = tuple[int, str, list[tuple[bytes, bytes]]]  # status, error, headers


class AccessMiddleware:
    """ASGI middleware. `roles` says which role opens which path; other paths are open to all.

    Without `access` nobody needs a key. With it, requests of `roles` are refused before their body
    is read: 401 without a known key, 403 without the role, 429 above the rate. 429 is also the
    answer where `refuse_if_full` returns, for the path, why there is no room.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        roles: Mapping[str, str],
        access: Access | None,
        rate: RateLimiter,
        metrics: Metrics,
        refuse_if_full: Callable[[str], str | None] = lambda path: None,
    ) -> None:
        self.app = app
        self.roles = roles
        self.access = access
        self.rate = rate
        self.metrics = metrics
        self.refuse_if_full = refuse_if_full

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = time.perf_counter()
        headers = dict(scope["headers"])
        given = headers.get(b"x-request-id", b"")
        request_id = given if _REQUEST_ID.fullmatch(given) else os.urandom(12).hex().encode()
        status = 500

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message = {
                    **message,
                    "headers": [*message["headers"], (b"x-request-id", request_id)],
                }
            await send(message)

        caller, refusal = self._admit(scope, headers)
        try:
            if refusal:
                await _refuse(send_with_id, refusal)
            else:
                await self.app(scope, receive, send_with_id)
        finally:
            seconds = time.perf_counter() - started
            self._record(
                scope, caller, status=status, seconds=seconds, request_id=request_id.decode()
            )

    def _admit(
        self, scope: Scope, headers: dict[bytes, bytes]
    ) -> tuple[Caller | None, Refusal | None]:
        """Returns who asks, if known, and why the request is refused, if it is."""
        role = self.roles.get(scope["path"])
        if role is None:
            return None, None
        caller = None
        if self.access:
            caller = self.access.caller_of(_bearer(headers))
            if caller is None:
                challenge = [(b"www-authenticate", b"Bearer")]
                message = "no known key. Send `Authorization: Bearer <key>`."
                return None, (401, message, challenge)
            if not caller.has_role(role):
                return caller, (403, f"key {caller.name} lacks the role {role}.", [])
        name = caller.name if caller else str((scope.get("client") or ("unknown",))[0])
        wait_s = self.rate.wait_s(name, time.monotonic())
        if wait_s:
            message = f"more than {self.rate.per_s:g} requests a second. Come back in {wait_s} s."
            return caller, (429, message, [_retry_after(wait_s)])
        if no_room := self.refuse_if_full(scope["path"]):
            return caller, (429, no_room, [_retry_after(_RETRY_WHEN_FULL_S)])
        return caller, None

    def _record(
        self, scope: Scope, caller: Caller | None, *, status: int, seconds: float, request_id: str
    ) -> None:
        """Counts and logs the request: who asked which model, never what the request said."""
        route = getattr(scope.get("route"), "path", None) or (
            scope["path"] if scope["path"] in self.roles else "other"
        )
        self.metrics.requests.labels(route, scope["method"], status).inc()
        self.metrics.request_seconds.labels(route).observe(seconds)
        fields = {
            "event": "request",
            "request_id": request_id,
            "route": route,
            "method": scope["method"],
            "status": status,
            "ms": round(seconds * 1000, 2),
            "caller": caller.name if caller else None,
            "model": scope.get("state", {}).get("answered_by"),
        }
        log.info("request", extra={"fields": fields})


def _retry_after(seconds: int) -> tuple[bytes, bytes]:
    return b"retry-after", str(seconds).encode()


def _bearer(headers: dict[bytes, bytes]) -> str:
    scheme, _, key = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
    return key.strip() if scheme.lower() == "bearer" else ""


async def _refuse(send: Send, refusal: Refusal) -> None:
    status, error, headers = refusal
    body = json.dumps({"error": error, "details": []}).encode()
    start = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        *headers,
        # The body of the request has not been read, so the connection cannot be used again.
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": status, "headers": start})
    await send({"type": "http.response.body", "body": body})
