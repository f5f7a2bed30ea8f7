"""Tests that evidence is the contact with the greatest weight in a reason."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest

from data.features.contact_marks import contact_features, contacts_as_of, parse_feature_name
from data.features.evidence import contact_weight, find_evidence
from data.features.features import FeatureParams, declared_features, features
from data.records import LABELS, frame
from tests.factories import a_contact, a_customer, a_turn, an_outcome

DAY = date(2026, 6, 1)


def ago(days: float) -> datetime:
    return datetime(2026, 6, 1, tzinfo=UTC) - timedelta(days=days)


def labels_of(*rows: tuple[str, str, str, float]) -> pl.DataFrame:
    return pl.DataFrame([(*row, "label_model") for row in rows], schema=LABELS, orient="row")


CONTACTS = [
    a_contact("old", started_at=ago(60), channel="phone", wait_s=900.0),
    a_contact("smooth", started_at=ago(40), channel="chat", wait_s=5.0),
    a_contact("late", started_at=ago(3), channel="phone", wait_s=60.0),
    a_contact("after", started_at=ago(-2)),
]
LABELLED = labels_of(
    ("old", "friction_unresolved", "yes", 0.99),
    ("old", "friction_long_wait", "yes", 0.7),
    ("late", "friction_unresolved", "yes", 0.6),
    ("late", "friction_transfer", "no", 0.99),
    ("after", "friction_unresolved", "yes", 1.0),
    ("late", "reason", "billing", 0.8),
)
TURNS = frame(
    "turns",
    [a_turn("old", 0, text="i waited", start_s=2.0), a_turn("late", 0, text="again", start_s=1.0)],
)


def named(feature: str, params: FeatureParams | None = None) -> str | None:
    reasons = pl.DataFrame({"customer_id": ["C1"], "as_of": [DAY], "feature": [feature]})
    explained = find_evidence(
        reasons, contacts=frame("contacts", CONTACTS), labels=LABELLED, turns=TURNS, params=params
    )
    contact_id: str | None = explained["contact_id"][0]
    return contact_id


@pytest.mark.parametrize(
    ("feature", "contact"),
    [
        ("friction_unresolved_7d", "late"),
        ("friction_unresolved_90d", "old"),
        ("friction_transfer_90d", None),  # most likely there was none
        ("reason_billing_365d", "late"),
        ("wait_s_90d", "old"),
        ("wait_s_30d", "late"),
        ("longest_wait_s", "old"),
        ("contacts_chat_90d", "smooth"),
        ("contacts_chat_7d", None),
        ("last_channel", "late"),
        ("worst_episode", "old"),
        ("days_since_last_friction", "late"),
        ("plan", None),
        ("tenure_days", None),
        ("attr_seats_7d", None),
    ],
)
def test_the_contact_is_one_the_feature_counts_and_the_one_it_counts_most(
    feature: str, contact: str | None
) -> None:
    assert named(feature) == contact


def test_what_a_smooth_contact_made_up_for_weighs_less() -> None:
    forgiving, never = (FeatureParams(relief=relief, half_life_days=1000) for relief in (0.9, 0.0))
    assert named("friction_unresolved_decayed", never) == "old"
    assert named("friction_unresolved_decayed", forgiving) == "late"
    assert named("friction_unresolved_90d", forgiving) == "old"  # a window forgives nothing


def test_the_moment_is_that_of_the_strongest_friction() -> None:
    reasons = pl.DataFrame({"customer_id": ["C1"], "as_of": [DAY], "feature": ["friction_90d"]})
    evidence = find_evidence(
        reasons, contacts=frame("contacts", CONTACTS), labels=LABELLED, turns=TURNS
    ).row(0, named=True)
    assert (evidence["contact_id"], evidence["start_s"], evidence["words"]) == (
        "old",
        2.0,
        "i waited",
    )


def test_weights_of_contacts_add_up_to_the_feature() -> None:
    """What evidence weighs is what training sums, but for contacts too unlikely to be named."""
    params = FeatureParams()
    tables = {
        "customers": frame("customers", [a_customer("C1")]),
        "contacts": frame("contacts", CONTACTS),
        "outcomes": frame(
            "outcomes", [an_outcome("C1", False, on=None, observed_until=date(2026, 12, 31))]
        ),
    }
    sure = LABELLED.filter(pl.col("value") != "no")
    row = features(tables, sure, [DAY], params=params).row(0, named=True)
    seen = contacts_as_of(
        contact_features(
            tables["contacts"], sure, repeat_days=params.repeat_days, relief=params.relief
        ),
        DAY,
        params.half_life_days,
    )
    sums = [
        feature.name
        for feature in declared_features(params)
        if parse_feature_name(feature.name).is_sum
    ]
    assert len(sums) > 90
    weights = {name: contact_weight(name, params) for name in sums}
    weighed = seen.select(
        weight.sum().alias(name) for name, weight in weights.items() if weight is not None
    ).row(0, named=True)
    for name in sums:
        assert weighed[name] == pytest.approx(row[name]), name


def test_nobody_asked_is_nothing_found() -> None:
    nobody = pl.DataFrame(schema={"customer_id": pl.String, "as_of": pl.Date, "feature": pl.String})
    assert find_evidence(
        nobody, contacts=frame("contacts", CONTACTS), labels=LABELLED, turns=TURNS
    ).is_empty()
