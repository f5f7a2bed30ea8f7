"""The persons and contacts of a simulated centre."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

CONTACT_CLASSES = (0.6, 1.0, 1.6)  # some people have more issues than others


@dataclass(frozen=True)
class Person:
    """A customer as the CRM sees them, with the two hidden numbers that drive them."""

    customer_id: str
    phone: str
    plan: str
    region: str
    since: date
    monthly_price: float
    contract: str
    payment_method: str
    base_hazard: float  # a day, before tenure
    contact_class: int  # index into CONTACT_CLASSES


@dataclass(frozen=True)
class Touch:
    """One contact of an issue as it really was. `day` counts from the first observed day."""

    day: int
    second: int
    channel: str
    reason: str
    attempt: int
    flags: frozenset[str]
    barrier: str
    resolved: bool
    sentiment: str
    wait_s: float | None
    last: bool = False  # nothing follows by design: resolved, or out of attempts

    @property
    def good(self) -> bool:
        """Resolved without any friction."""
        return self.resolved and not self.flags and self.barrier == "none"

    @property
    def told_to_call(self) -> bool:
        """The next attempt will nearly always be by phone."""
        return bool(self.flags & {"please_call", "ivr_dead_end"})
