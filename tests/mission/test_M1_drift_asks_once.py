"""M1: drift of what comes in asks for a retraining, once."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from data.files import read_json
from evaluation.monitoring import trends
from flows.runtime.context import RunContext
from tests.night_helpers import PROMOTED, WORLD, a_centre, a_night, promote
from tests.toy_kind import TOY

CHANGED = 12


@pytest.fixture
def centre(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunContext]:
    with a_centre(tmp_path, monkeypatch) as context:
        assert promote(context)["champion"] == 1
        yield context


def test_M1_a_codec_change_on_night_12_is_named_that_night_and_asks_once(
    centre: RunContext,
) -> None:
    """Twelve quiet nights with two weekends start nothing; then the calls of one day are GSM."""
    WORLD.codec = {PROMOTED + timedelta(days=CHANGED - 1): "GSM610"}
    nights = {number: a_night(centre, number)[0] for number in range(1, CHANGED + 3)}
    assert [number for number, night in nights.items() if night["retrain"]] == [CHANGED]
    quiet_nights = [nights[number]["models"][TOY]["drift"] for number in range(1, CHANGED)]
    assert quiet_nights[0]["says"] == "No contact came."  # the promotion's day counts as known
    assert all(drift["alarms"] == [] and drift["smallest_p"] for drift in quiet_nights[1:])
    (alarm,) = nights[CHANGED]["models"][TOY]["drift"]["alarms"]
    assert (alarm["metric"], alarm["category"]) == ("codec", "GSM610")
    event = nights[CHANGED]["event"]
    assert (event["kinds"], event["site"]) == ([TOY], "centre")
    assert "GSM610" in event["reasons"][TOY]
    again, _ = a_night(centre, CHANGED)
    assert again["event"]["id"] == event["id"], "the same night repeated is the same request"
    alarms = trends.read_trends(centre.path("trends")).filter(event="alarm")
    assert alarms["day"].min() == (PROMOTED + timedelta(days=CHANGED)).isoformat()
    assert read_json(centre.path("nightly.json"))["open_causes"][0]["metrics"] == ["codec"]
