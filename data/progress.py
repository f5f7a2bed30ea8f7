"""Defines the callback by which long work reports its progress."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[int, int], None]
"""Called with (done, total), in whatever unit the work counts; `total` is 0 while it is unknown."""
