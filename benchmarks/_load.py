"""Generates HTTP load on raw connections and measures every response."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np


@dataclass
class Load:
    """The responses. Times are in seconds, each from the moment the request was due."""

    seconds: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    seen: Counter[str] = field(default_factory=Counter)
    wall_s: float = 0.0

    def figures(self) -> dict[str, object]:
        """Returns requests a second, percentiles of the time in milliseconds, errors."""
        ms = np.array(self.seconds or [float("nan")]) * 1000
        return {
            "requests": len(self.seconds),
            "requests_per_s": round(len(self.seconds) / self.wall_s, 1),
            **{f"p{q}_ms": round(float(np.percentile(ms, q)), 2) for q in (50, 95, 99)},
            "worst_ms": round(float(ms.max()), 1),
            "errors": sum(count for status, count in self.statuses.items() if status != 200),
            "seen": dict(self.seen),
        }


def run_load(
    seconds: float,
    port: int,
    bodies: Sequence[bytes],
    *,
    path: str,
    per_s: float | None = None,
    connections: int = 16,
    classify: Callable[[bytes], str] = lambda body: "",
) -> Load:
    """Posts `bodies` in turn for `seconds` and returns the responses.

    With `per_s` at that rate whatever the responses do, else as fast as possible. A request that is
    late because its connection was busy counts from when it was due, so that the generator's
    waiting does not hide a slow moment of the service. `classify` makes of a body what `Load.seen`
    counts.
    """
    load = Load()
    requests = [
        f"POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
        f"content-length: {len(body)}\r\n\r\n".encode()
        + body
        for body in bodies
    ]
    turn = 0

    async def worker(start: float) -> None:
        nonlocal turn
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while True:
            number, turn = turn, turn + 1
            due = time.perf_counter() if per_s is None else start + number / per_s
            if due - start >= seconds:
                break
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            try:
                writer.write(requests[number % len(requests)])
                status, body = await _read_response(reader)
            except (OSError, EOFError):
                status, body = 0, b""
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
            load.seconds.append(time.perf_counter() - due)
            load.statuses[status] += 1
            load.seen[classify(body) if status == 200 else f"status {status}"] += 1
        writer.close()

    async def run_workers() -> None:
        start = time.perf_counter()
        await asyncio.gather(*(worker(start) for _ in range(connections)))
        load.wall_s = time.perf_counter() - start

    import uvloop

    uvloop.run(run_workers())
    return load


async def _read_response(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    head = await reader.readuntil(b"\r\n\r\n")
    length = 0
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            length = int(value)
    return int(head[9:12]), await reader.readexactly(length)
