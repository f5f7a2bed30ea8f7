"""Defines the parameters of a simulated contact centre."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date

REASONS = (
    "billing",
    "outage",
    "cancel",
    "upgrade",
    "technical",
    "delivery",
    "payment",
    "complaint",
    "other",
)
FRICTIONS = (
    "ivr_dead_end",
    "pressed_zero",
    "system_hangup",
    "please_call",
    "repeated_contact",
    "transfer",
    "unresolved",
    "long_wait",
)
BARRIERS = ("none", "authority", "knowledge", "tool", "policy")
SENTIMENTS = ("negative", "neutral", "positive")


@dataclass(frozen=True)
class Effects:
    """What one contact adds to a customer's relative hazard of leaving, and how it decays.

    The relative hazard is 1 at rest.
    """

    ivr_dead_end: float = 10.0  # the menu led nowhere
    pressed_zero: float = 1.5  # fought past the menu to a person
    system_hangup: float = 5.0  # the line or the chat was cut
    please_call: float = 7.0  # wrote, and was told to call
    repeated_contact: float = 3.0  # had to come back for the same thing
    transfer: float = 1.5  # handed on
    unresolved: float = 3.0  # left without an answer
    long_wait: float = 2.0  # waited more than ten minutes, five in chat
    authority: float = 2.5  # the agent was not allowed to
    knowledge: float = 1.5  # the agent did not know
    tool: float = 1.5  # the agent's system would not let them
    policy: float = 5.0  # the rules were in the way
    cancel: float = 20.0  # called to cancel
    complaint: float = 4.0  # called to complain
    # share of the relative hazard that a resolved contact without friction takes away
    good: float = 0.4
    memory_days: float = 75.0  # time constant with which experiences fade back to rest


@dataclass(frozen=True)
class Campaigns:
    """Monthly call backs by somebody with authority, and what one does to a customer's hazard.

    A call back resolves what went wrong lately, does little for those whom only the price
    drives, and reminds customers who had not been in touch that they could leave.
    """

    months: int = 0  # how many; 0: none, and no log of them
    follow_up_days: int = 180  # the last one is at least this long before the end
    # share of the customers looked at each month, by lot; nobody again within `rest_days`
    reach: float = 0.35
    rest_days: int = 180  # so that one decision's effect is not another's
    random_share: float = 0.4  # of those looked at: offered by lot, with `random_propensity`
    random_propensity: float = 0.5
    # agents offer it to those whose last contact of 90 days went badly, …
    agent_noticed: float = 0.65
    agent_else: float = 0.06  # … and to few others
    # share of the excess hazard taken away, where the last contact of 120 days went wrong
    heal: float = 0.85
    heal_else: float = 0.15  # and where it did not
    wake: float = 1.5  # added to the relative hazard of those without a contact for 180 days
    cost: float = 12.0  # of one call back, as the log states it


@dataclass(frozen=True)
class SimulatorParams:
    """One simulated contact centre. The same values give the same export, byte for byte."""

    seed: int = 1  # everything random follows from it
    customers: int = 3000  # people in the CRM
    days: int = 730  # length of the observed window
    ends: date = date(2026, 6, 30)  # last observed day, the snapshot
    calls: int = 160  # phone contacts whose recording was kept
    transcribed_share: float = 0.6  # share of the recordings that a person transcribed
    agents: int = 12  # people answering
    issues_per_year: float = 2.4  # how often something brings an average customer to the centre
    leaving_per_year: float = 0.05  # hazard of leaving a year of an average customer at rest
    # possible futures behind each true risk; 2,000 make 99 % of them exact to 0.01
    futures: int = 2000
    faults: int = 1  # how many of each bad input to plant in the export
    effects: Effects = field(default_factory=Effects)
    campaigns: Campaigns = field(default_factory=Campaigns)
