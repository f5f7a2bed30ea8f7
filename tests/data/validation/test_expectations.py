"""Tests that suites can be read: unique reasons, next steps and requirements in words."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from data.records import TABLES
from data.validation import ValidationParams, expectations
from data.validation.expectations import Expectation

NOW = datetime(2026, 6, 1, tzinfo=UTC)
PARAMS = ValidationParams()
SUITES = {
    "schema": expectations.schema(),
    "customers": expectations.customers(PARAMS, NOW),
    "contacts": expectations.contacts(PARAMS, NOW),
    "recordings": expectations.recordings(PARAMS),
    "turns": expectations.turns(PARAMS),
    "outcomes": expectations.outcomes(PARAMS, NOW),
    "interventions": expectations.interventions(PARAMS, NOW),
    "customer_versions": expectations.customer_versions(PARAMS, NOW),
    "shares": expectations.shares(PARAMS),
}


def test_every_table_has_a_suite() -> None:
    assert set(TABLES) <= set(SUITES)


@pytest.mark.parametrize("suite", SUITES)
def test_reasons_are_unique_and_each_has_a_next_step(suite: str) -> None:
    reasons = [expectation.reason for expectation in SUITES[suite]]
    assert len(set(reasons)) == len(reasons)
    assert all(expectation.next_step for expectation in SUITES[suite])
    assert all(expectation.column for expectation in SUITES[suite])


@pytest.mark.parametrize(
    ("reason", "requirement"),
    [
        ("codec", "one of PCM_16, PCM_24, ULAW, ALAW, GSM610, FLAC, OPUS"),
        ("too-short", "at least 1.0"),
        ("too-long", "at most 14400.0"),
        ("no-hash", "a value"),
    ],
)
def test_a_requirement_is_worded(reason: str, requirement: str) -> None:
    (expectation,) = [one for one in SUITES["recordings"] if one.reason == reason]
    assert expectation.requirement == requirement


def test_limits_on_both_sides_and_pairs_are_worded_too() -> None:
    between = Expectation("between", {"column": "x", "min_value": 0, "max_value": 1}, "r", "n")
    assert between.requirement == "between 0 and 1"
    (pair,) = [one for one in SUITES["turns"] if one.reason == "ends-before-it-starts"]
    assert pair.requirement == "not before start_s"
    assert pair.column == "end_s"


def test_only_what_concerns_a_whole_table_stops_a_run() -> None:
    stopping = {name for name, suite in SUITES.items() for one in suite if one.stops}
    assert stopping == {"schema", "shares"}
