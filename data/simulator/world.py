"""Simulates the customers, the contacts they have and the day on which they leave.

A customer's *issues* arrive as a Poisson process (their own, plus outages of their region). An
issue becomes one or more *touches*: an attempt that is not resolved is tried again with a
probability, after a geometric delay. Every touch changes the customer's relative hazard r (1 at
rest): friction adds to it, a good contact takes a share of it away, and it decays back to 1
exponentially. On each day the hazard of leaving is the customer's base hazard (plan, tenure, price,
region) times r. Touches do not depend on r, which is what lets `truth.py` compute every customer's
risk.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace
from datetime import date, timedelta

import numpy as np

from data.simulator import campaigns
from data.simulator.entities import CONTACT_CLASSES, Person, Touch
from data.simulator.params import REASONS, Effects, SimulatorParams

MAX_ATTEMPTS = 4
RETRY = 0.7  # probability that an unresolved attempt is followed by another
RETRY_TOMORROW = 0.35  # the delay to it is geometric, in days
OUTAGES_PER_YEAR = 5.0  # a region
OUTAGE_REACH = 0.05  # share of the region's customers who get in touch about one

PLANS = {  # name: (share, monthly price, hazard multiplier)
    "flex": (0.28, 32.0, 3.0),
    "essential": (0.24, 24.0, 1.3),
    "plus": (0.22, 38.0, 0.7),
    "max": (0.14, 55.0, 0.5),
    "family": (0.12, 68.0, 0.3),
}
REGIONS = {"north": 1.0, "south": 0.8, "east": 1.3, "west": 1.0, "centre": 1.05}
TENURES = ((365, 2.2), (3 * 365, 1.0), (10**6, 0.5))  # up to so many days: hazard multiplier
REASON_SHARES = dict(
    zip(REASONS, (0.24, 0.06, 0.05, 0.08, 0.22, 0.09, 0.12, 0.05, 0.09), strict=True)
)
FIRST_CHANNEL = {"phone": 0.36, "ivr": 0.24, "chat": 0.20, "email": 0.14, "social": 0.06}
LATER_CHANNEL = {"phone": 0.62, "ivr": 0.08, "chat": 0.14, "email": 0.10, "social": 0.06}
CALL_CHANNEL = {"phone": 0.92, "ivr": 0.04, "chat": 0.02, "email": 0.01, "social": 0.01}
BARRIER_SHARES = {"none": 0.76, "authority": 0.07, "knowledge": 0.06, "tool": 0.05, "policy": 0.06}
LONG_WAIT_S = {"phone": 600.0, "chat": 300.0}


@dataclass(frozen=True)
class World:
    """Everything that happened. Arrays are [customers, days]."""

    params: SimulatorParams
    starts: date
    people: list[Person]
    touches: list[list[Touch]]  # per customer, in order, up to the day they left
    left_on: list[date | None]
    # hazard a day at rest, through a year past the window; 0 before the customer joined
    base: np.ndarray
    # the relative hazard r at the start of each day, as long as the customer stays
    relative: np.ndarray
    # the touches, had there been no campaigns: longer or shorter, else the same
    undisturbed: list[list[Touch]]
    # who was offered a call back, and who was not
    decisions: list[campaigns.Decision] = field(default_factory=list)
    # day of a campaign → r [customers] before it
    before_calls: dict[int, np.ndarray] = field(default_factory=dict)


def hazard_increase(touch: Touch, effects: Effects) -> float:
    """Returns what `touch` adds to the relative hazard."""
    added: float = sum(getattr(effects, flag) for flag in sorted(touch.flags))
    if touch.barrier != "none":
        added += getattr(effects, touch.barrier)
    if touch.attempt == 1 and touch.reason in ("cancel", "complaint"):
        added += getattr(effects, touch.reason)
    return added


def issue(rng: random.Random, day: int, reason: str | None = None) -> list[Touch]:
    """Returns all touches of one issue that begins on `day`, whether or not the customer stays."""
    return _attempts(
        rng, day, reason=reason or _pick(rng, REASON_SHARES), attempt=1, told_to_call=False
    )


def rest_of_issue(rng: random.Random, day: int, *, attempt: int, told_to_call: bool) -> list[Touch]:
    """Returns what follows the unresolved attempt number `attempt`, on or after `day`.

    It is given that something follows.
    """
    return _attempts(
        rng, day + _delay(rng) - 1, reason="other", attempt=attempt + 1, told_to_call=told_to_call
    )


def build(params: SimulatorParams) -> World:
    """Simulates the whole window."""
    starts = params.ends - timedelta(days=params.days - 1)
    people = [_person(params, number, starts) for number in range(params.customers)]
    outages = _outages(params)
    paths, thresholds = [], np.empty(params.customers)
    for number, person in enumerate(people):
        rng = random.Random(params.seed * 1_000_003 + number * 2 + 1)
        joined = max(0, (person.since - starts).days)
        paths.append(_path(rng, params, person, joined=joined, outages=outages))
        thresholds[number] = rng.expovariate(1.0)
    base = _base_hazard(people, starts, params.days + 366)
    relative = relative_hazard(paths, params.effects, params.days)
    days = _leaving_days(base, relative, thresholds)
    undisturbed = _until(paths, days)
    decisions: list[campaigns.Decision] = []
    joined_on = np.array([(person.since - starts).days for person in people])
    before_calls: dict[int, np.ndarray] = {}
    rested_until: dict[int, int] = {}
    for day in campaigns.days(params):
        active = np.flatnonzero((joined_on < day) & (days >= day)).tolist()
        campaign_decisions = campaigns.decide(
            params, day, active=active, rested_until=rested_until, people=people, paths=paths
        )
        called = [decision.number for decision in campaign_decisions if decision.offered]
        before_calls[day] = relative[:, day].copy()
        after = campaigns.after_call(
            relative[called, day], day, numbers=called, paths=paths, campaigns=params.campaigns
        )
        relative[called] = _from_day_on(
            relative[called],
            day,
            at=after,
            paths=[paths[n] for n in called],
            effects=params.effects,
        )
        days = _leaving_days(base, relative, thresholds)
        decisions += campaign_decisions
    return World(
        params=params,
        starts=starts,
        people=people,
        touches=_until(paths, days),
        left_on=[starts + timedelta(days=int(day)) if day < params.days else None for day in days],
        base=base,
        relative=relative,
        undisturbed=undisturbed,
        decisions=decisions,
        before_calls=before_calls,
    )


def _leaving_days(base: np.ndarray, relative: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """The day on which each customer leaves, the number of days where they stay."""
    days = relative.shape[1]
    gone = np.cumsum(base[:, :days] * relative, axis=1) > thresholds[:, None]
    return np.asarray(np.where(gone.any(axis=1), gone.argmax(axis=1), days))


def _until(paths: list[list[Touch]], days: np.ndarray) -> list[list[Touch]]:
    """What happens to each customer up to the day they leave."""
    return [
        [touch for touch in path if touch.day <= day] for path, day in zip(paths, days, strict=True)
    ]


def _from_day_on(
    relative: np.ndarray, day: int, *, at: np.ndarray, paths: list[list[Touch]], effects: Effects
) -> np.ndarray:
    """`relative` [paths, days] with the values `at` on `day` and all that follows from them."""
    changed = relative.copy()
    changed[:, day] = at
    added, remaining_share = daily_changes(paths, effects, relative.shape[1])
    for later in range(day + 1, relative.shape[1]):
        changed[:, later] = fade(
            changed[:, later - 1] * remaining_share[:, later - 1] + added[:, later - 1], effects
        )
    return changed


def relative_hazard(paths: list[list[Touch]], effects: Effects, days: int) -> np.ndarray:
    """Returns r at the start of each day for each path of touches: [paths, days].

    A touch counts from the next day on.
    """
    added, remaining_share = daily_changes(paths, effects, days)
    relative = np.ones((len(paths), days))
    for day in range(1, days):
        relative[:, day] = fade(
            relative[:, day - 1] * remaining_share[:, day - 1] + added[:, day - 1], effects
        )
    return relative


def daily_changes(
    paths: list[list[Touch]], effects: Effects, days: int
) -> tuple[np.ndarray, np.ndarray]:
    """Returns what each day's touches add to r and the share of r they leave: [paths, days]."""
    added, remaining_share = np.zeros((len(paths), days)), np.ones((len(paths), days))
    for number, path in enumerate(paths):
        for touch in path:
            if touch.day < days:
                added[number, touch.day] += hazard_increase(touch, effects)
                if touch.good:
                    remaining_share[number, touch.day] *= 1 - effects.good
    return added, remaining_share


def fade(relative: np.ndarray, effects: Effects) -> np.ndarray:
    """Returns r one day later: the distance from rest shrinks."""
    return np.asarray(1 + (relative - 1) * np.exp(-1 / effects.memory_days))


def _person(params: SimulatorParams, number: int, starts: date) -> Person:
    rng = random.Random(params.seed * 1_000_003 + number * 2)
    plan = _pick(rng, {name: share for name, (share, _, _) in PLANS.items()})
    _, list_price, plan_hazard = PLANS[plan]
    region = rng.choice(sorted(REGIONS))
    if rng.random() < 0.25:  # joins within the window
        since = starts + timedelta(days=rng.randrange(max(1, params.days - 30)))
    else:
        since = starts - timedelta(days=1 + min(int(rng.expovariate(1 / 900)), 3650))
    price = round(list_price * rng.uniform(0.85, 1.25), 2)
    dear = (price / list_price) ** 2
    base = params.leaving_per_year / 365 * plan_hazard * REGIONS[region] * dear
    contract = "monthly" if plan == "flex" else rng.choice(("one year", "two years"))
    return Person(
        customer_id=f"C{number:06d}",
        phone=f"+1555{number:07d}",
        plan=plan,
        region=region,
        since=since,
        monthly_price=price,
        contract=contract,
        payment_method=rng.choice(("direct debit", "card", "invoice")),
        base_hazard=base,
        contact_class=rng.randrange(len(CONTACT_CLASSES)),
    )


def _outages(params: SimulatorParams) -> dict[str, list[int]]:
    rng = random.Random(params.seed * 1_000_003 - 1)
    chance = OUTAGES_PER_YEAR / 365
    return {
        region: [day for day in range(params.days) if rng.random() < chance]
        for region in sorted(REGIONS)
    }


def _path(
    rng: random.Random,
    params: SimulatorParams,
    person: Person,
    *,
    joined: int,
    outages: dict[str, list[int]],
) -> list[Touch]:
    touches = []
    for day in issue_days(
        rng, params, contact_class=person.contact_class, begin=joined, end=params.days
    ):
        touches += issue(rng, day)
    for day in outages[person.region]:
        if day >= joined and rng.random() < OUTAGE_REACH:
            touches += issue(rng, day, "outage")
    return sorted((t for t in touches if t.day < params.days), key=lambda t: (t.day, t.second))


def issue_days(
    rng: random.Random, params: SimulatorParams, *, contact_class: int, begin: int, end: int
) -> list[int]:
    """Returns the days in [begin, end) on which an issue of one's own begins."""
    rate = params.issues_per_year * CONTACT_CLASSES[contact_class] / 365
    days, at = [], begin + rng.expovariate(rate)
    while at < end:
        days.append(int(at))
        at += rng.expovariate(rate)
    return days


def _base_hazard(people: list[Person], starts: date, days: int) -> np.ndarray:
    tenure = np.arange(days)[None, :] - np.array([(p.since - starts).days for p in people])[:, None]
    limits, multipliers = zip(*TENURES, strict=True)
    by_tenure = np.array(multipliers)[
        np.searchsorted(limits, tenure, side="right").clip(max=len(limits) - 1)
    ]
    at_rest = np.array([p.base_hazard for p in people])[:, None]
    return np.asarray(np.where(tenure >= 0, by_tenure, 0.0) * at_rest)


def _attempts(
    rng: random.Random, day: int, *, reason: str, attempt: int, told_to_call: bool
) -> list[Touch]:
    touches: list[Touch] = []
    while True:
        channels = (
            FIRST_CHANNEL if attempt == 1 else CALL_CHANNEL if told_to_call else LATER_CHANNEL
        )
        channel, second = _pick(rng, channels), rng.randrange(8 * 3600, 20 * 3600)
        tried = [
            _touch(rng, day=day, second=second, channel=channel, reason=reason, attempt=attempt)
        ]
        if (
            "pressed_zero" in tried[0].flags
        ):  # past the menu: the same attempt goes on with a person
            tried.append(
                _touch(
                    rng,
                    day=day,
                    second=second + rng.randrange(60, 300),
                    channel="phone",
                    reason=reason,
                    attempt=attempt,
                )
            )
        touches += tried
        if touches[-1].resolved or attempt == MAX_ATTEMPTS:
            touches[-1] = replace(touches[-1], last=True)
            return touches
        if rng.random() >= RETRY:
            return touches
        told_to_call = touches[-1].told_to_call
        day, attempt = day + _delay(rng), attempt + 1


def _touch(
    rng: random.Random, *, day: int, second: int, channel: str, reason: str, attempt: int
) -> Touch:
    flags: set[str] = set()
    barrier, wait_s = "none", None
    if attempt > 1:
        flags.add("repeated_contact")
    if channel == "ivr":
        end = _pick(
            rng, {"served": 0.46, "pressed_zero": 0.22, "ivr_dead_end": 0.20, "system_hangup": 0.12}
        )
        resolved = end == "served"
        if end != "served":
            flags.add(end)
    else:
        barrier = _pick(rng, BARRIER_SHARES)
        resolved = rng.random() < (0.25 if barrier != "none" else 0.88)
        if channel in LONG_WAIT_S:
            busy = 1.6 if second // 3600 in (9, 10, 17, 18) or reason == "outage" else 1.0
            wait_s = round(busy * rng.lognormvariate(4.6, 1.1), 1)
            if wait_s >= LONG_WAIT_S[channel]:
                flags.add("long_wait")
            if rng.random() < 0.03:
                flags.add("system_hangup")
                resolved = False
        if channel == "phone" and rng.random() < (
            0.35 if barrier in ("authority", "knowledge") else 0.08
        ):
            flags.add("transfer")
        if (
            channel != "phone"
            and not resolved
            and "system_hangup" not in flags
            and rng.random() < 0.5
        ):
            flags.add("please_call")
    if not resolved and "pressed_zero" not in flags:
        flags.add("unresolved")
    return Touch(
        day,
        second,
        channel,
        reason,
        attempt,
        frozenset(flags),
        barrier,
        resolved,
        _sentiment(rng, flags=flags, barrier=barrier, reason=reason, resolved=resolved),
        wait_s,
    )


def _sentiment(
    rng: random.Random, *, flags: set[str], barrier: str, reason: str, resolved: bool
) -> str:
    upset = len(flags) + (barrier != "none") + (reason == "complaint") + rng.gauss(0, 0.6)
    if upset > 1.4:
        return "negative"
    return "positive" if resolved and upset < 0.2 else "neutral"


def _delay(rng: random.Random) -> int:
    days = 1
    while rng.random() >= RETRY_TOMORROW:
        days += 1
    return days


def _pick(rng: random.Random, shares: dict[str, float]) -> str:
    return rng.choices(list(shares), weights=list(shares.values()))[0]
