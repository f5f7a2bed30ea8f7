"""What tests need to tell the type checker."""

from __future__ import annotations

from typing import TypeVar

T = TypeVar("T")


def known(value: T | None) -> T:
    """Returns `value`, which must not be None: an end of an interval that should be there, say."""
    assert value is not None
    return value
