"""The command `keepline guard`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from flows.runtime.heartbeats import reap

if TYPE_CHECKING:
    from rich.console import Console


def guard(console: Console, every_s: float, once: bool, store: Path | None) -> None:
    """Ends dead and stuck runs every `every_s` seconds until stopped; prints what it ended."""
    from flows.runtime.context import load_context

    settings = load_context(store).settings
    while True:
        for beat in reap(settings):
            console.print(
                f"{beat.what} {beat.name} ({beat.id}) ended as failed",
                highlight=False,
                markup=False,
            )
        if once:
            return
        time.sleep(every_s)
