"""Features promise to say what was known at the start of a day, each under a name that explains itself."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path

import polars as pl
import pytest

from data.features.features import (
    KEYS,
    FeatureParams,
    as_of_dates,
    describe,
    features,
    features_in_parts,
    is_dated,
    snapshot,
)
from data.records import LABELS, frame
from tests.factories import a_contact, a_customer, an_outcome

DAY = date(2026, 6, 1)
PARAMS = FeatureParams()


def ago(days: float) -> datetime:
    return datetime(2026, 6, 1, tzinfo=UTC) - timedelta(days=days)


def tables(customers=None, contacts=(), outcomes=None):
    stays = an_outcome("C1", happened=False, on=None, observed_until=date(2026, 12, 31))
    return {
        "customers": frame("customers", customers or [a_customer("C1")]),
        "contacts": frame("contacts", list(contacts)),
        "outcomes": frame("outcomes", [stays] if outcomes is None else outcomes),
    }


def labels(*rows: tuple[str, str, str, float]) -> pl.DataFrame:
    return pl.DataFrame([(*row, "label_model") for row in rows], schema=LABELS, orient="row")


def row(found: dict, told: pl.DataFrame | None = None, params: FeatureParams = PARAMS) -> dict:
    return features(found, labels() if told is None else told, [DAY], params=params).row(
        0, named=True
    )


def test_windows_count_what_began_within_them() -> None:
    contacts = [
        a_contact(f"k{n}", started_at=ago(days)) for n, days in enumerate((1, 20, 80, 300, 500))
    ]
    found = row(tables(contacts=contacts))
    assert [found[f"contacts_{days}d"] for days in (7, 30, 90, 365)] == [1, 2, 3, 4]
    assert found["contacts_phone_365d"] == 4
    assert found["contacts_chat_365d"] == 0
    assert found["days_since_last_contact"] == pytest.approx(1)
    assert found["contacts_decayed"] == pytest.approx(
        sum(0.5 ** (d / 50) for d in (1, 20, 80, 300, 500))
    )


def test_somebody_who_never_called_has_zeros_and_unknowns() -> None:
    found = row(tables())
    assert found["contacts_365d"] == 0
    assert found["worst_episode"] == 0
    assert found["days_since_last_contact"] is None
    assert found["last_channel"] is None


def test_friction_labels_count_by_their_probability() -> None:
    contacts = [a_contact("k1", started_at=ago(3)), a_contact("k2", started_at=ago(10))]
    told = labels(("k1", "friction_transfer", "yes", 0.9), ("k2", "friction_transfer", "no", 0.8))
    found = row(tables(contacts=contacts), told)
    assert found["friction_transfer_7d"] == pytest.approx(0.9)
    assert found["friction_transfer_30d"] == pytest.approx(0.9 + 0.2)
    assert found["days_since_last_friction"] == pytest.approx(3)


def test_the_worst_episode_adds_up_friction_that_came_together_and_fades() -> None:
    contacts = [a_contact(f"k{n}", started_at=ago(days)) for n, days in enumerate((60, 58, 57, 10))]
    told = labels(*[(f"k{n}", "friction_unresolved", "yes", 1.0) for n in range(4)])
    assert row(tables(contacts=contacts), told)["worst_episode"] == pytest.approx(
        3 * 0.5 ** (57 / 50)  # more than 0.5 ** (10 / 50), the single one of late
    )


def test_repeats_channel_switches_waits_and_the_last_contact() -> None:
    contacts = [
        a_contact("k0", channel="email", started_at=ago(40)),  # another matter
        a_contact("k1", channel="ivr", started_at=ago(5), wait_s=None),
        a_contact("k2", channel="phone", started_at=ago(4), wait_s=90.0),
        a_contact("k3", channel="phone", started_at=ago(3), wait_s=30.0),
    ]
    found = row(
        tables(contacts=contacts),
        labels(("k3", "reason", "billing", 0.7), ("k3", "barrier", "policy", 0.6)),
    )
    assert found["repeated_contacts_7d"] == 2
    assert found["channel_switches_7d"] == 1
    assert found["wait_s_7d"] == 120
    assert found["longest_wait_s"] == 90
    assert (found["last_channel"], found["last_reason"]) == ("phone", "billing")
    assert found["barrier_policy_365d"] == pytest.approx(0.6)


def test_targets_say_when_and_are_censored_where_nobody_looked() -> None:
    people = [a_customer(name, since=date(2025, 6, 1)) for name in ("C1", "C2", "C3", "C4")]
    end = date(2026, 6, 30)
    outcomes = [
        an_outcome("C1", on=DAY, observed_until=end),  # leaves on the first day after
        an_outcome("C2", happened=False, on=None, observed_until=end),
        an_outcome("C3", on=date(2026, 5, 31), observed_until=end),  # had left
    ]
    found = features(tables(people, outcomes=outcomes), labels(), [DAY], params=PARAMS)
    assert found.select("customer_id", "event", "time_days").rows() == [
        ("C1", True, 1.0),
        ("C2", False, 30.0),
        ("C4", None, None),
    ]
    assert found["tenure_days"].to_list() == [365.0] * 3


def test_nobody_has_features_before_being_a_customer() -> None:
    people = [
        a_customer("C1", since=DAY),
        a_customer("C2", since=DAY - timedelta(days=1)),
        a_customer("C3", since=None),
    ]
    outcomes = [an_outcome("C1", on=date(2026, 9, 1), observed_until=date(2026, 12, 31))]
    found = features(tables(people, outcomes=outcomes), labels(), [DAY], params=PARAMS)
    assert found["customer_id"].to_list() == ["C2", "C3"]


def test_outcomes_without_dates_give_one_row_a_customer_and_a_plain_target() -> None:
    people = [a_customer("C1"), a_customer("C2")]
    outcomes = [an_outcome("C1", on=None), an_outcome("C2", happened=False, on=None)]
    given = tables(people, [a_contact(started_at=ago(10.5))], outcomes)
    assert not is_dated(given["outcomes"], PARAMS)
    days = as_of_dates(given["outcomes"], given["contacts"], PARAMS)
    assert days == [date(2026, 5, 22)] == [snapshot(given["outcomes"], given["contacts"], PARAMS)]
    found = features(given, labels(), days, params=PARAMS)
    assert found.select("event", "time_days").rows() == [(True, None), (False, None)]
    assert found["contacts_7d"].to_list() == [1.0, 0.0]


def test_attributes_find_their_types_and_the_target_is_not_among_them() -> None:
    people = [
        a_customer(
            f"C{n}",
            attributes=json.dumps(
                {
                    "churn": n % 2,
                    "spend": str(n / 2),
                    "paperless": n > 60,
                    "contract": ["monthly", "yearly"][n % 2],
                    "iban": f"X{n}",
                    "note": "",
                    "cancelled_on": "x",
                }
            ),
        )
        for n in range(80)
    ]
    found = features(
        tables(people, outcomes=[an_outcome("C1")]),
        labels(),
        [DAY],
        params=FeatureParams(exclude=("Cancelled_On",)),
    )
    attributes = {name: kind for name, kind in found.schema.items() if name.startswith("attr_")}
    assert attributes == {
        "attr_contract": pl.String,
        "attr_paperless": pl.Float64,
        "attr_spend": pl.Float64,
    }


def test_every_feature_explains_itself_and_the_unknown_is_refused() -> None:
    found = features(tables(), labels(), [DAY], params=PARAMS)
    for name in set(found.columns) - set(KEYS):
        assert describe(name).meaning
        assert describe(name).group
    assert (
        describe("friction_please_call_30d").meaning
        == "written contacts answered with 'please call' in the last 30 days"
    )
    assert describe("reason_cancel_365d").meaning == "contacts about cancel in the last 365 days"
    for name in ("nonsense", "reason_nonsense_30d"):
        with pytest.raises(KeyError, match="nonsense"):
            describe(name)


def test_as_of_dates_are_first_days_of_months_with_history_and_follow_up() -> None:
    contacts = frame("contacts", [a_contact(started_at=datetime(2025, 1, 10, tzinfo=UTC))])
    outcomes = frame(
        "outcomes", [an_outcome(on=date(2026, 3, 3), observed_until=date(2026, 6, 30))]
    )
    days = as_of_dates(outcomes, contacts, FeatureParams(as_of_count=50))
    assert (days[0], days[-1], len(days)) == (date(2025, 5, 1), date(2026, 6, 1), 14)
    few = as_of_dates(outcomes, contacts, FeatureParams(as_of_count=4))
    assert (few[0], few[-1], len(few)) == (days[0], days[-1], 4)
    with pytest.raises(ValueError, match="leave no month"):
        as_of_dates(outcomes, contacts, FeatureParams(min_history_days=900))


def test_an_outcome_of_another_name_is_pointed_out() -> None:
    with pytest.raises(ValueError, match="there is downgrade"):
        row(tables(outcomes=[an_outcome(event="downgrade")]))


def test_broken_attributes_name_their_customer() -> None:
    with pytest.raises(ValueError, match="customer C7: attributes are not"):
        row(tables([a_customer("C7", attributes="{")]))


def a_crowd() -> tuple[dict[str, pl.DataFrame], pl.DataFrame]:
    people = [a_customer(f"C{n}") for n in range(30)]
    contacts = [a_contact(f"k{n}", f"C{n % 23}", started_at=ago(n * 3.7)) for n in range(120)]
    stays = [
        an_outcome(f"C{n}", happened=False, on=None, observed_until=date(2026, 12, 31))
        for n in range(30)
    ]
    told = labels(*[(f"k{n}", "friction_transfer", "yes", 0.5 + n / 240) for n in range(0, 120, 2)])
    return tables(people, contacts, stays), told


def test_parts_of_any_size_and_scans_of_files_give_the_same_features(tmp_path: Path) -> None:
    given, told = a_crowd()
    whole = features(given, told, [DAY - timedelta(days=31), DAY], params=PARAMS)
    assert whole.height == 60
    assert whole["friction_transfer_365d"].sum() > 10
    for name, table in {**given, "labels": told}.items():
        table.write_parquet(tmp_path / f"{name}.parquet")
    scans = {name: pl.scan_parquet(tmp_path / f"{name}.parquet") for name in (*given, "labels")}
    small = replace(PARAMS, part_contacts=10)
    parts = list(
        features_in_parts(scans, scans["labels"], [DAY - timedelta(days=31), DAY], params=small)
    )
    assert len(parts) > 10
    assert pl.concat(parts).equals(whole)


def test_no_part_holds_more_contacts_than_asked_for_and_a_customer_is_never_divided() -> None:
    given, told = a_crowd()
    parts = list(features_in_parts(given, told, [DAY], params=replace(PARAMS, part_contacts=20)))
    assert all(
        part["contacts_365d"].sum() <= 20 + 6 for part in parts
    )  # the last customer of a part comes whole
    everybody = [name for part in parts for name in part["customer_id"]]
    assert everybody == sorted(set(everybody))


def test_with_a_lead_time_only_what_can_still_be_prevented_counts() -> None:
    people = [a_customer(name, since=date(2025, 6, 1)) for name in ("C1", "C2", "C3", "C4")]
    outcomes = [
        an_outcome(
            "C1", on=DAY + timedelta(days=6), observed_until=date(2026, 9, 30)
        ),  # too soon to act on
        an_outcome(
            "C2", on=DAY + timedelta(days=7), observed_until=date(2026, 9, 30)
        ),  # on the first day that counts
        an_outcome("C3", happened=False, on=None, observed_until=DAY + timedelta(days=36)),
        an_outcome(
            "C4", happened=False, on=None, observed_until=DAY + timedelta(days=2)
        ),  # not followed so far
    ]
    found = features(
        tables(people, outcomes=outcomes), labels(), [DAY], params=FeatureParams(lead_days=7)
    )
    assert found.select("customer_id", "event", "time_days").rows() == [
        ("C2", True, 1.0),
        ("C3", False, 30.0),
        ("C4", None, None),
    ]


def test_the_lead_time_is_taken_off_the_follow_up() -> None:
    contacts = frame("contacts", [a_contact(started_at=datetime(2025, 1, 10, tzinfo=UTC))])
    outcomes = frame(
        "outcomes", [an_outcome(on=date(2026, 3, 3), observed_until=date(2026, 6, 30))]
    )
    last = [as_of_dates(outcomes, contacts, FeatureParams(lead_days=lead))[-1] for lead in (0, 14)]
    assert last == [date(2026, 6, 1), date(2026, 5, 1)]


def test_the_mood_trend_is_what_changed_of_late() -> None:
    contacts = [
        a_contact(f"k{n}", started_at=ago(days)) for n, days in enumerate((300, 200, 20, 5))
    ]
    told = labels(
        ("k0", "sentiment", "positive", 1.0),
        ("k1", "sentiment", "positive", 0.5),
        ("k2", "sentiment", "negative", 0.5),
        ("k3", "sentiment", "negative", 0.7),
    )
    assert row(tables(contacts=contacts), told)["sentiment_trend"] == pytest.approx(-0.6 - 0.75)
    assert row(tables(contacts=contacts[2:]), told)["sentiment_trend"] is None


@pytest.mark.parametrize(
    ("missing", "says"),
    [
        ("customers", "there is no customer. Deliver the customers"),
        ("outcomes", "no outcome has been delivered, so there is nothing to learn from"),
        ("all", "no contact and no outcome has a date"),
    ],
)
def test_a_missing_table_is_named_with_what_to_deliver(missing, says) -> None:
    given, told = a_crowd()
    given = {
        name: table.clear() if missing in (name, "all") else table for name, table in given.items()
    }
    with pytest.raises(ValueError, match=says):
        features(
            given, told, as_of_dates(given["outcomes"], given["contacts"], PARAMS), params=PARAMS
        )


def test_without_contacts_there_is_still_the_customer_record() -> None:
    given, told = a_crowd()
    found = features({**given, "contacts": given["contacts"].clear()}, told, [DAY], params=PARAMS)
    assert found.height == 30
    assert found["contacts_365d"].sum() == 0
    assert found["plan"].null_count() == 0


def test_a_customer_twice_is_one_customer_and_a_contact_of_nobody_is_none() -> None:
    given, told = a_crowd()
    twice = pl.concat([given["customers"], given["customers"][:9]])
    strange = pl.concat(
        [given["contacts"], frame("contacts", [a_contact("x", "nobody", started_at=ago(1))])]
    )
    once = features(given, told, [DAY], params=PARAMS)
    assert features(
        {**given, "customers": twice, "contacts": strange}, told, [DAY], params=PARAMS
    ).equals(once)


def test_the_same_moment_in_another_zone_is_the_same_moment() -> None:
    zones = [timezone(timedelta(hours=hours)) for hours in (-8, 0, 9)]
    contacts = [[a_contact("k1", started_at=ago(6.9).astimezone(zone))] for zone in zones]
    rows = [row(tables(contacts=one)) for one in contacts]
    assert rows[0] == rows[1] == rows[2]
    assert rows[0]["contacts_7d"] == 1
