"""Shared by the benchmarks: a small HTTP load generator on raw connections, with each answer's time and body kept."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np


@dataclass
class Load:
    """What came back. Times are in seconds, each from the moment the request was due."""

    seconds: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    seen: Counter[str] = field(default_factory=Counter)
    wall_s: float = 0.0

    def figures(self) -> dict[str, object]:
        """Requests a second, percentiles of the time in milliseconds, errors."""
        ms = np.array(self.seconds or [float("nan")]) * 1000
        return {
            "requests": len(self.seconds),
            "requests_per_s": round(len(self.seconds) / self.wall_s, 1),
            **{f"p{q}_ms": round(float(np.percentile(ms, q)), 2) for q in (50, 95, 99)},
            "worst_ms": round(float(ms.max()), 1),
            "errors": sum(count for status, count in self.statuses.items() if status != 200),
            "seen": dict(self.seen),
        }


def ask_for(
    seconds: float,
    port: int,
    bodies: Sequence[bytes],
    path: str,
    per_s: float | None = None,
    connections: int = 16,
    look: Callable[[bytes], str] = lambda body: "",
) -> Load:
    """Posts `bodies` in turn for `seconds`: `per_s` requests a second whatever the answers do, or as many as go.

    A request that comes late because its connection was busy counts from when it was due, so that a slow moment of the
    service is not hidden by the generator's waiting for it. `look` makes of a body what `Load.seen` counts.
    """
    load = Load()
    requests = [
        f"POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
        f"content-length: {len(body)}\r\n\r\n".encode()
        + body
        for body in bodies
    ]
    turn = 0

    async def worker(begun: float) -> None:
        nonlocal turn
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while True:
            number, turn = turn, turn + 1
            due = time.perf_counter() if per_s is None else begun + number / per_s
            if due - begun >= seconds:
                break
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            try:
                writer.write(requests[number % len(requests)])
                status, body = await _answer(reader)
            except (OSError, EOFError):
                status, body = 0, b""
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
            load.seconds.append(time.perf_counter() - due)
            load.statuses[status] += 1
            load.seen[look(body) if status == 200 else f"status {status}"] += 1
        writer.close()

    async def all_of_them() -> None:
        begun = time.perf_counter()
        await asyncio.gather(*(worker(begun) for _ in range(connections)))
        load.wall_s = time.perf_counter() - begun

    import uvloop

    uvloop.run(all_of_them())
    return load


async def _answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    head = await reader.readuntil(b"\r\n\r\n")
    length = 0
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            length = int(value)
    return int(head[9:12]), await reader.readexactly(length)
