"""Shows progress: bars with time left on a terminal, a line every few seconds elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import rich.progress
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from data.progress import Progress


@contextmanager
def bar(console: Console, title: str, quiet_for_s: float = 5.0) -> Iterator[Progress]:
    """Yields a function (done, total) that draws the state of one stage under `title`."""
    if not console.is_terminal:
        yield _lines(console, title, quiet_for_s)
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description:<34}"),
        BarColumn(bar_width=28),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with rich.progress.Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(title, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total or None)


def _lines(console: Console, title: str, quiet_for_s: float) -> Progress:
    # When the first report came; loading before it says nothing of the pace.
    first: tuple[float, int] | None = None
    last = time.monotonic()

    def report(done: int, total: int) -> None:
        nonlocal first, last
        now = time.monotonic()
        first = first or (now, done)
        if now - last < quiet_for_s or done <= first[1] or not total:
            return
        last = now
        left = (now - first[0]) / (done - first[1]) * (total - done)
        console.print(f"  {title}: {done}/{total}, about {left:.0f} s left")

    return report
