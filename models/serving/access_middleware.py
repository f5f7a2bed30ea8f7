"""The way in: each request gets an id, shows a key, keeps to its rate, and is counted and logged once answered."""

from __future__ import annotations

import json
import logging
import os
import re
import time
from collections.abc import Callable, Mapping

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from models.serving.access import Access, Caller, Rate
from models.serving.telemetry import Metrics

log = logging.getLogger(__name__)
_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
Refusal = tuple[int, str, list[tuple[bytes, bytes]]]


class AccessMiddleware:
    """ASGI middleware. `roles` says which role opens which path; other paths are open to all.

    Without `access` nobody needs a key; with it, paths of `roles` are refused before their body is read: 401 without a
    known key, 403 without the role, 429 above the rate or where `full` says of the path that there is no room.
    """

    def __init__(
        self,
        app: ASGIApp,
        roles: Mapping[str, str],
        access: Access | None,
        rate: Rate,
        metrics: Metrics,
        full: Callable[[str], str | None] = lambda path: None,
    ) -> None:
        self.app = app
        self.roles = roles
        self.access = access
        self.rate = rate
        self.metrics = metrics
        self.full = full

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = time.perf_counter()
        headers = dict(scope["headers"])
        given = headers.get(b"x-request-id", b"")
        request_id = given if _ID.fullmatch(given) else os.urandom(12).hex().encode()
        status = 500

        async def labelled(message: Message) -> None:
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
                await _answer(labelled, *refusal)
            else:
                await self.app(scope, receive, labelled)
        finally:
            self._tell(scope, caller, status, time.perf_counter() - started, request_id.decode())

    def _admit(
        self, scope: Scope, headers: dict[bytes, bytes]
    ) -> tuple[Caller | None, Refusal | None]:
        role = self.roles.get(scope["path"])
        if role is None:
            return None, None
        caller = None
        if self.access:
            caller = self.access.caller(_bearer(headers))
            if caller is None:
                how = [(b"www-authenticate", b"Bearer")]
                return None, (401, "no known key. Send `Authorization: Bearer <key>`.", how)
            if not caller.may(role):
                return caller, (403, f"key {caller.name} lacks the role {role}.", [])
        who = caller.name if caller else str((scope.get("client") or ("unknown",))[0])
        wait_s = self.rate.wait_s(who, time.monotonic())
        if wait_s:
            said = f"more than {self.rate.per_s:g} requests a second. Come back in {wait_s} s."
            return caller, (429, said, [(b"retry-after", str(wait_s).encode())])
        if no_room := self.full(scope["path"]):
            return caller, (429, no_room, [(b"retry-after", b"5")])
        return caller, None

    def _tell(
        self, scope: Scope, caller: Caller | None, status: int, seconds: float, request_id: str
    ) -> None:
        """Counts and logs the request: what was asked of whom, never what was said in it."""
        found = scope.get("route")
        route = getattr(found, "path", None) or (
            scope["path"] if scope["path"] in self.roles else "other"
        )
        self.metrics.requests.labels(route, scope["method"], status).inc()
        self.metrics.request_seconds.labels(route).observe(seconds)
        answered = scope.get("state", {}).get("answered")
        fields = {
            "event": "request",
            "request_id": request_id,
            "route": route,
            "method": scope["method"],
            "status": status,
            "ms": round(seconds * 1000, 2),
            "caller": caller.name if caller else None,
            "model": answered,
        }
        log.info("request", extra={"fields": fields})


def _bearer(headers: dict[bytes, bytes]) -> str:
    scheme, _, key = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
    return key.strip() if scheme.lower() == "bearer" else ""


async def _answer(send: Send, status: int, error: str, headers: list[tuple[bytes, bytes]]) -> None:
    body = json.dumps({"error": error, "details": []}).encode()
    # The body of the request has not been read, so the connection cannot be used again.
    start = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        *headers,
    ]
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [*start, (b"connection", b"close")],
        }
    )
    await send({"type": "http.response.body", "body": body})
