"""M6: after a release somebody watches: a champion that turns out worse is rolled back by itself,
once, and people are told, once.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flows.runtime.context import RunContext
from flows.stages import watch
from tests.night_helpers import WORLD, a_centre, a_night, promote, quiet
from tests.toy_kind import TOY


@pytest.fixture
def centre(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunContext]:
    """A centre whose second champion was the better one on the past; both are released by the
    gate.
    """
    with a_centre(tmp_path, monkeypatch) as context:
        assert promote(context)["champion"] == 1
        WORLD.guess, WORLD.past = 0.6, 0.6
        released = promote(context)
        assert (released["says"], released["champion"]) == ("promoted", 2)
        yield context


def notices(context: RunContext) -> list[dict[str, Any]]:
    """What people were told, besides the promotions that made the centre."""
    path = context.path("notices.jsonl")
    told = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return [notice for notice in told if "promoted" not in notice["title"]]


def test_M6_a_planted_regression_is_rolled_back_once_and_told_once(centre: RunContext) -> None:
    WORLD.truth = 0.45  # the past was no guide: the old guess is nearer
    states = []
    for number in range(1, 9):
        _, watched = a_night(centre, number)
        states.append(watched["models"][TOY]["state"])
    assert states[-1] == "rolled back"
    assert centre.registry().alias(TOY, "champion") == 1
    moves = [entry for entry in centre.registry().ledger(TOY) if entry.action == "rollback"]
    assert [(entry.actor, entry.version, entry.previous) for entry in moves] == [
        (watch.ACTOR, 1, 2)
    ]
    told = [notice for notice in notices(centre) if "rolled back" in notice["title"]]
    assert len(told) == 1
    assert "toy v2 is worse than v1" in told[0]["body"]
    assert watch.watch(centre, quiet)["models"][TOY]["told"]
    assert len(notices(centre)) == len(told), "asked again, nobody is told again"


def test_M6_told_after_a_kill_between_rollback_and_notice(centre: RunContext) -> None:
    centre.registry(tells=False).rollback(TOY, watch.ACTOR, centre.now(), expected=2)
    watched = watch.watch(centre, quiet)["models"][TOY]
    assert (watched["state"], watched["told"]) == ("rolled back", True)
    watch.watch(centre, quiet)
    assert [notice["title"] for notice in notices(centre)] == ["the toy champion was rolled back"]


def test_M6_what_is_not_proven_is_called_unproven_and_stays(centre: RunContext) -> None:
    WORLD.truth, WORLD.calls = 0.55, 4  # both guess equally well
    for number in range(1, 4):
        _, watched = a_night(centre, number)
    found = watched["models"][TOY]
    assert found["state"] == "unproven"
    assert "too little evidence either way" in found["sentence"]
    assert centre.registry().alias(TOY, "champion") == 2
    assert notices(centre) == []
    _, late = a_night(centre, 40)
    assert late["models"][TOY]["state"] == "unproven"


def test_M6_a_person_s_rollback_is_left_alone(centre: RunContext) -> None:
    centre.registry().rollback(TOY, "ann", centre.now(), expected=2)
    watched = watch.watch(centre, quiet)["models"][TOY]
    assert watched["state"] == "nothing to watch"
    assert [notice["title"] for notice in notices(centre)] == ["toy: rolled back to v1"]
