"""What customers go through drives whether they leave, as strongly as the settings say."""

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest

from data.simulator.params import Effects, SimulatorParams
from data.simulator.world import World, build, hazard_increase, relative_hazard

NO_EFFECT = Effects(**{name: 0.0 for name in Effects.__dataclass_fields__ if name != "memory_days"})


@pytest.fixture(scope="module")
def world() -> World:
    return build(SimulatorParams(customers=2500))


def a_year_of_leaving(world: World) -> float:
    """Share of those who are customers a year before the end that are gone at the end."""
    begin = world.params.ends - timedelta(days=364)
    here = [
        left
        for p, left in zip(world.people, world.left_on, strict=True)
        if p.since < begin and (not left or left >= begin)
    ]
    return float(np.mean([left is not None for left in here]))


def test_between_a_tenth_and_a_quarter_leave_in_a_year(world: World) -> None:
    assert 0.10 < a_year_of_leaving(world) < 0.25


def test_contacts_are_as_many_and_as_mixed_as_in_a_contact_centre(world: World) -> None:
    touches = [touch for path in world.touches for touch in path]
    assert 3.0 < len(touches) / len(world.people) < 8.0
    assert {touch.channel for touch in touches} == {"phone", "ivr", "chat", "email", "social"}
    assert 0.3 < np.mean([touch.channel == "phone" for touch in touches]) < 0.6
    for flag in (
        "ivr_dead_end",
        "pressed_zero",
        "system_hangup",
        "please_call",
        "transfer",
        "long_wait",
    ):
        assert 0.02 < np.mean([flag in touch.flags for touch in touches]) < 0.2
    for touch in touches:
        assert ("unresolved" in touch.flags) == (
            not touch.resolved and "pressed_zero" not in touch.flags
        )
        assert ("repeated_contact" in touch.flags) == (touch.attempt > 1)


def test_without_effects_leaving_follows_plan_and_tenure_alone(world: World) -> None:
    calm = build(replace(world.params, effects=NO_EFFECT))
    assert np.all(calm.relative == 1.0)
    assert a_year_of_leaving(calm) < 0.6 * a_year_of_leaving(world)


def test_the_hazard_after_friction_is_the_one_that_was_set(world: World) -> None:
    """Departures over expected ones are 1 on rough and on calm days: the hazard is true."""
    days = world.params.days
    hazard = world.base[:, :days] * world.relative
    left = np.array([(on - world.starts).days if on else days for on in world.left_on])
    at_risk = np.arange(days)[None, :] <= left[:, None]
    leaving = np.arange(days)[None, :] == left[:, None]
    for band in (
        world.relative < 1.5,
        (world.relative >= 1.5) & (world.relative < 5),
        world.relative >= 5,
    ):
        seen, expected = (leaving & band).sum(), (hazard * at_risk * band).sum()
        assert seen == pytest.approx(expected, abs=4 * np.sqrt(expected))
    rough = world.relative >= 5
    rate_rough = (leaving & rough).sum() / (at_risk & rough).sum()
    rate_calm = (leaving & ~rough).sum() / (at_risk & ~rough).sum()
    assert rate_rough > 3 * rate_calm


def test_friction_adds_good_takes_away_and_both_fade(world: World) -> None:
    effects = world.params.effects
    touches = [touch for path in world.touches for touch in path]
    bad = replace(max(touches, key=lambda touch: hazard_increase(touch, effects)), day=10)
    good = replace(
        next(touch for touch in touches if touch.good and hazard_increase(touch, effects) == 0),
        day=20,
    )
    alone, healed, calm = relative_hazard([[bad], [bad, good], [good]], effects, 400)
    assert np.all(alone[:11] == 1)
    assert alone[11] == pytest.approx(
        1 + hazard_increase(bad, effects) * np.exp(-1 / effects.memory_days)
    )
    assert np.all(np.diff(alone[11:]) < 0)
    assert healed[25] < 0.7 * alone[25]
    assert calm[25] < 1
    assert alone[399] == pytest.approx(1, abs=0.5)
    assert calm[399] == pytest.approx(1, abs=0.01)


def test_nobody_gets_in_touch_before_joining_or_after_leaving(world: World) -> None:
    for person, path, left in zip(world.people, world.touches, world.left_on, strict=True):
        assert path == sorted(path, key=lambda touch: (touch.day, touch.second))
        for touch in path:
            on = world.starts + timedelta(days=touch.day)
            assert (
                on >= min(person.since, world.starts)
                if person.since < world.starts
                else on >= person.since
            )
            assert left is None or on <= left


def test_more_customers_leave_the_first_ones_as_they_are(world: World) -> None:
    few = build(replace(world.params, customers=50))
    assert few.people == world.people[:50]
    assert few.touches == world.touches[:50]
    assert few.left_on == world.left_on[:50]
