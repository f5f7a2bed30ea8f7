"""Simulates call backs to customers: who is offered one, with which probability and effect.

They draw from random streams of their own and have no part in what else happens to a customer, so a
centre with campaigns differs from the same one without only in who leaves when.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING

import numpy as np

from data.simulator.params import Campaigns, SimulatorParams

if TYPE_CHECKING:
    from data.simulator.entities import Person, Touch

INTERVENTION = "call back"
_STREAM = 7_001  # tells these draws from all others of the same seed
SKIP_DAYS = 90  # of history before the first campaign
WRONG_DAYS = 120  # a call back resolves what went wrong within so many days
NOTICED_DAYS = 90  # agents notice what went wrong within so many days
QUIET_DAYS = 180  # a customer without a contact for so long is reminded that they could leave


@dataclass(frozen=True)
class Decision:
    """Whether a customer was offered a call back at the start of `day`.

    `day` counts from the first observed day.
    """

    number: int  # of the customer
    day: int
    offered: bool
    assigned_by: str
    propensity: float


def days(params: SimulatorParams) -> list[int]:
    """Returns the days of the campaigns, the last `campaigns.months` that fit.

    They are first days of months with history before and follow-up after.
    """
    starts = params.ends - timedelta(days=params.days - 1)
    fit = [
        day
        for day in range(SKIP_DAYS, params.days - params.campaigns.follow_up_days + 1)
        if (starts + timedelta(days=day)).day == 1
    ]
    return fit[len(fit) - min(len(fit), params.campaigns.months) :]


def decide(
    params: SimulatorParams,
    day: int,
    *,
    active: list[int],
    rested_until: dict[int, int],
    people: list[Person],
    paths: list[list[Touch]],
) -> list[Decision]:
    """Returns the decisions of one campaign about the customers `active`.

    `rested_until` tells until which day each is left alone, and is updated.
    """
    campaigns, decisions = params.campaigns, []
    # Drawn for everybody, so that nobody's luck depends on who has left.
    draws = np.random.default_rng([params.seed, _STREAM, day]).random((len(people), 3))
    for number in active:
        looked_at, by_lot, luck = draws[number]
        if looked_at >= campaigns.reach or rested_until.get(number, 0) > day:
            continue
        rested_until[number] = day + campaigns.rest_days
        random_arm = by_lot < campaigns.random_share
        propensity = (
            campaigns.random_propensity if random_arm else _agents(campaigns, paths[number], day)
        )
        decisions.append(
            Decision(
                number,
                day,
                bool(luck < propensity),
                "random" if random_arm else "agent",
                propensity,
            )
        )
    return decisions


def after_call(
    relative: np.ndarray,
    day: int,
    *,
    numbers: list[int],
    paths: list[list[Touch]],
    campaigns: Campaigns,
) -> np.ndarray:
    """Returns the relative hazards of customers `numbers` after a call back on `day`."""
    heal, wake = np.empty(len(numbers)), np.empty(len(numbers))
    for place, number in enumerate(numbers):
        last = _last(paths[number], day)
        age = day - last.day if last else day + QUIET_DAYS
        heal[place] = (
            campaigns.heal if last and age <= WRONG_DAYS and not last.good else campaigns.heal_else
        )
        wake[place] = campaigns.wake if age > QUIET_DAYS else 0.0
    return np.asarray(1 + (relative - 1) * (1 - heal) + wake)


def row(
    decision: Decision, *, people: list[Person], starts: date, campaigns: Campaigns
) -> dict[str, object]:
    """Returns the line of interventions.csv."""
    return {
        "customer_id": people[decision.number].customer_id,
        "decided_on": starts + timedelta(days=decision.day),
        "kind": INTERVENTION,
        "offered": "true" if decision.offered else "false",
        "assigned_by": decision.assigned_by,
        "propensity": round(decision.propensity, 6),
        "cost": campaigns.cost if decision.offered else 0.0,
    }


def _agents(campaigns: Campaigns, path: list[Touch], day: int) -> float:
    last = _last(path, day)
    bad = (
        last is not None
        and day - last.day <= NOTICED_DAYS
        and (not last.resolved or last.sentiment == "negative")
    )
    return campaigns.agent_noticed if bad else campaigns.agent_else


def _last(path: list[Touch], day: int) -> Touch | None:
    before = [touch for touch in path if touch.day < day]
    return before[-1] if before else None
