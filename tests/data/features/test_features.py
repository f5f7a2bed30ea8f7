"""Tests that features use only what was known at the start of a day."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

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
from data.records import LABELS, Contact, Customer, Outcome, frame
from tests.factories import a_contact, a_customer, an_outcome

DAY = date(2026, 6, 1)
PARAMS = FeatureParams()


def ago(days: float) -> datetime:
    return datetime(2026, 6, 1, tzinfo=UTC) - timedelta(days=days)


def tables(
    customers: list[Customer] | None = None,
    contacts: Sequence[Contact] = (),
    outcomes: list[Outcome] | None = None,
) -> dict[str, pl.DataFrame]:
    stays = an_outcome("C1", happened=False, on=None, observed_until=date(2026, 12, 31))
    return {
        "customers": frame("customers", customers or [a_customer("C1")]),
        "contacts": frame("contacts", list(contacts)),
        "outcomes": frame("outcomes", [stays] if outcomes is None else outcomes),
    }


def labels(*rows: tuple[str, str, str, float]) -> pl.DataFrame:
    return pl.DataFrame([(*row, "label_model") for row in rows], schema=LABELS, orient="row")


def row(
    source: dict[str, pl.DataFrame],
    contact_labels: pl.DataFrame | None = None,
    params: FeatureParams = PARAMS,
) -> dict[str, Any]:
    return features(
        source, labels() if contact_labels is None else contact_labels, [DAY], params=params
    ).row(0, named=True)


def test_windows_count_what_began_within_them() -> None:
    contacts = [
        a_contact(f"k{n}", started_at=ago(days)) for n, days in enumerate((1, 20, 80, 300, 500))
    ]
    computed = row(tables(contacts=contacts))
    assert [computed[f"contacts_{days}d"] for days in (7, 30, 90, 365)] == [1, 2, 3, 4]
    assert computed["contacts_phone_365d"] == 4
    assert computed["contacts_chat_365d"] == 0
    assert computed["days_since_last_contact"] == pytest.approx(1)
    assert computed["contacts_decayed"] == pytest.approx(
        sum(0.5 ** (d / 50) for d in (1, 20, 80, 300, 500))
    )


def test_somebody_who_never_called_has_zeros_and_unknowns() -> None:
    computed = row(tables())
    assert computed["contacts_365d"] == 0
    assert computed["worst_episode"] == 0
    assert computed["days_since_last_contact"] is None
    assert computed["last_channel"] is None


def test_friction_labels_count_by_their_probability() -> None:
    contacts = [a_contact("k1", started_at=ago(3)), a_contact("k2", started_at=ago(10))]
    contact_labels = labels(
        ("k1", "friction_transfer", "yes", 0.9), ("k2", "friction_transfer", "no", 0.8)
    )
    computed = row(tables(contacts=contacts), contact_labels)
    assert computed["friction_transfer_7d"] == pytest.approx(0.9)
    assert computed["friction_transfer_30d"] == pytest.approx(0.9 + 0.2)
    assert computed["days_since_last_friction"] == pytest.approx(3)


def test_the_worst_episode_adds_up_friction_that_came_together_and_fades() -> None:
    contacts = [a_contact(f"k{n}", started_at=ago(days)) for n, days in enumerate((60, 58, 57, 10))]
    contact_labels = labels(*[(f"k{n}", "friction_unresolved", "yes", 1.0) for n in range(4)])
    assert row(tables(contacts=contacts), contact_labels)["worst_episode"] == pytest.approx(
        3 * 0.5 ** (57 / 50)  # more than 0.5 ** (10 / 50), the single one of late
    )


def test_repeats_channel_switches_waits_and_the_last_contact() -> None:
    contacts = [
        a_contact("k0", channel="email", started_at=ago(40)),  # another matter
        a_contact("k1", channel="ivr", started_at=ago(5), wait_s=None),
        a_contact("k2", channel="phone", started_at=ago(4), wait_s=90.0),
        a_contact("k3", channel="phone", started_at=ago(3), wait_s=30.0),
    ]
    computed = row(
        tables(contacts=contacts),
        labels(("k3", "reason", "billing", 0.7), ("k3", "barrier", "policy", 0.6)),
    )
    assert computed["repeated_contacts_7d"] == 2
    assert computed["channel_switches_7d"] == 1
    assert computed["wait_s_7d"] == 120
    assert computed["longest_wait_s"] == 90
    assert (computed["last_channel"], computed["last_reason"]) == ("phone", "billing")
    assert computed["barrier_policy_365d"] == pytest.approx(0.6)


def test_targets_say_when_and_are_censored_where_nobody_looked() -> None:
    people = [a_customer(name, since=date(2025, 6, 1)) for name in ("C1", "C2", "C3", "C4")]
    end = date(2026, 6, 30)
    outcomes = [
        an_outcome("C1", on=DAY, observed_until=end),  # leaves on the first day after
        an_outcome("C2", happened=False, on=None, observed_until=end),
        an_outcome("C3", on=date(2026, 5, 31), observed_until=end),  # had left
    ]
    computed = features(tables(people, outcomes=outcomes), labels(), [DAY], params=PARAMS)
    assert computed.select("customer_id", "event", "time_days").rows() == [
        ("C1", True, 1.0),
        ("C2", False, 30.0),
        ("C4", None, None),
    ]
    assert computed["tenure_days"].to_list() == [365.0] * 3


def test_nobody_has_features_before_being_a_customer() -> None:
    people = [
        a_customer("C1", since=DAY),
        a_customer("C2", since=DAY - timedelta(days=1)),
        a_customer("C3", since=None),
    ]
    outcomes = [an_outcome("C1", on=date(2026, 9, 1), observed_until=date(2026, 12, 31))]
    computed = features(tables(people, outcomes=outcomes), labels(), [DAY], params=PARAMS)
    assert computed["customer_id"].to_list() == ["C2", "C3"]


def test_outcomes_without_dates_give_one_row_a_customer_and_a_plain_target() -> None:
    people = [a_customer("C1"), a_customer("C2")]
    outcomes = [an_outcome("C1", on=None), an_outcome("C2", happened=False, on=None)]
    source = tables(people, [a_contact(started_at=ago(10.5))], outcomes)
    assert not is_dated(source["outcomes"], PARAMS)
    days = as_of_dates(source["outcomes"], source["contacts"], PARAMS)
    assert days == [date(2026, 5, 22)] == [snapshot(source["outcomes"], source["contacts"], PARAMS)]
    computed = features(source, labels(), days, params=PARAMS)
    assert computed.select("event", "time_days").rows() == [(True, None), (False, None)]
    assert computed["contacts_7d"].to_list() == [1.0, 0.0]


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
    computed = features(
        tables(people, outcomes=[an_outcome("C1")]),
        labels(),
        [DAY],
        params=FeatureParams(exclude=("Cancelled_On",)),
    )
    attributes = {name: kind for name, kind in computed.schema.items() if name.startswith("attr_")}
    assert attributes == {
        "attr_contract": pl.String,
        "attr_paperless": pl.Float64,
        "attr_spend": pl.Float64,
    }


def test_every_feature_explains_itself_and_the_unknown_is_refused() -> None:
    computed = features(tables(), labels(), [DAY], params=PARAMS)
    for name in set(computed.columns) - set(KEYS):
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
    contact_labels = labels(
        *[(f"k{n}", "friction_transfer", "yes", 0.5 + n / 240) for n in range(0, 120, 2)]
    )
    return tables(people, contacts, stays), contact_labels


def test_parts_of_any_size_and_scans_of_files_give_the_same_features(tmp_path: Path) -> None:
    source, contact_labels = a_crowd()
    whole = features(source, contact_labels, [DAY - timedelta(days=31), DAY], params=PARAMS)
    assert whole.height == 60
    assert whole["friction_transfer_365d"].sum() > 10
    for name, table in {**source, "labels": contact_labels}.items():
        table.write_parquet(tmp_path / f"{name}.parquet")
    scans = {name: pl.scan_parquet(tmp_path / f"{name}.parquet") for name in (*source, "labels")}
    small = replace(PARAMS, part_contacts=10)
    parts = list(
        features_in_parts(scans, scans["labels"], [DAY - timedelta(days=31), DAY], params=small)
    )
    assert len(parts) > 10
    assert pl.concat(parts).equals(whole)


def test_no_part_holds_more_contacts_than_asked_for_and_a_customer_is_never_divided() -> None:
    source, contact_labels = a_crowd()
    parts = list(
        features_in_parts(source, contact_labels, [DAY], params=replace(PARAMS, part_contacts=20))
    )
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
    computed = features(
        tables(people, outcomes=outcomes), labels(), [DAY], params=FeatureParams(lead_days=7)
    )
    assert computed.select("customer_id", "event", "time_days").rows() == [
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
    contact_labels = labels(
        ("k0", "sentiment", "positive", 1.0),
        ("k1", "sentiment", "positive", 0.5),
        ("k2", "sentiment", "negative", 0.5),
        ("k3", "sentiment", "negative", 0.7),
    )
    assert row(tables(contacts=contacts), contact_labels)["sentiment_trend"] == pytest.approx(
        -0.6 - 0.75
    )
    assert row(tables(contacts=contacts[2:]), contact_labels)["sentiment_trend"] is None


@pytest.mark.parametrize(
    ("missing", "says"),
    [
        ("customers", "there is no customer. Deliver the customers"),
        ("outcomes", "no outcome has been delivered, so there is nothing to learn from"),
        ("all", "no contact and no outcome has a date"),
    ],
)
def test_a_missing_table_is_named_with_what_to_deliver(missing: str, says: str) -> None:
    source, contact_labels = a_crowd()
    source = {
        name: table.clear() if missing in (name, "all") else table for name, table in source.items()
    }
    with pytest.raises(ValueError, match=says):
        features(
            source,
            contact_labels,
            as_of_dates(source["outcomes"], source["contacts"], PARAMS),
            params=PARAMS,
        )


def test_without_contacts_there_is_still_the_customer_record() -> None:
    source, contact_labels = a_crowd()
    computed = features(
        {**source, "contacts": source["contacts"].clear()}, contact_labels, [DAY], params=PARAMS
    )
    assert computed.height == 30
    assert computed["contacts_365d"].sum() == 0
    assert computed["plan"].null_count() == 0


def test_a_customer_twice_is_one_customer_and_a_contact_of_nobody_is_none() -> None:
    source, contact_labels = a_crowd()
    twice = pl.concat([source["customers"], source["customers"][:9]])
    strange = pl.concat(
        [source["contacts"], frame("contacts", [a_contact("x", "nobody", started_at=ago(1))])]
    )
    once = features(source, contact_labels, [DAY], params=PARAMS)
    assert features(
        {**source, "customers": twice, "contacts": strange}, contact_labels, [DAY], params=PARAMS
    ).equals(once)


def test_the_same_moment_in_another_zone_is_the_same_moment() -> None:
    zones = [timezone(timedelta(hours=hours)) for hours in (-8, 0, 9)]
    contacts = [[a_contact("k1", started_at=ago(6.9).astimezone(zone))] for zone in zones]
    rows = [row(tables(contacts=contact)) for contact in contacts]
    assert rows[0] == rows[1] == rows[2]
    assert rows[0]["contacts_7d"] == 1
