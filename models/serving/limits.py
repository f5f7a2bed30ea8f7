"""Limits the size of request bodies, without reading more of them than allowed."""

from __future__ import annotations

import contextlib
import json

from starlette.types import ASGIApp, Message, Receive, Scope, Send


class _TooLargeError(Exception):
    pass


class BodyLimit:
    """ASGI middleware that answers 413 as soon as a body is announced, or found, too large."""

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self.app = app
        self.max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        announced = dict(scope["headers"]).get(b"content-length", b"")
        if announced.isdigit() and int(announced) > self.max_bytes:
            await self._refuse(send)
            return
        read, exceeded, answered = 0, False, False

        async def receive_counted() -> Message:
            nonlocal read, exceeded
            message = await receive()
            read += len(message.get("body", b""))
            if read > self.max_bytes:
                exceeded = True
                raise _TooLargeError
            return message

        async def send_unless_exceeded(message: Message) -> None:
            nonlocal answered
            if exceeded and not answered:
                return  # the application's own answer to the exception; 413 is sent instead
            answered = True
            await send(message)

        with contextlib.suppress(_TooLargeError):
            await self.app(scope, receive_counted, send_unless_exceeded)
        if exceeded and not answered:
            await self._refuse(send)

    async def _refuse(self, send: Send) -> None:
        problem = {
            "error": f"the body is larger than {self.max_bytes} bytes. Send less at a time.",
            "details": [],
        }
        headers = [(b"content-type", b"application/json"), (b"connection", b"close")]
        await send({"type": "http.response.start", "status": 413, "headers": headers})
        await send({"type": "http.response.body", "body": json.dumps(problem).encode()})
