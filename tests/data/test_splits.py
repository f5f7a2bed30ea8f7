"""Splits keep every customer and voice of training out of valid and test."""

from __future__ import annotations

import random
from collections.abc import Sequence

import polars as pl
import pytest

from data.records import frame
from data.splits import EXCLUDED, LeakError, SplitParams, assert_disjoint, customer_splits, split
from tests.factories import a_contact, a_customer, a_recording


def a_centre(
    calls: Sequence[tuple[str, str, str | None]], silent: int = 0
) -> tuple[pl.DataFrame, ...]:
    """contacts, recordings and customers for calls given as (contact, customer, voice)."""
    people = sorted({customer for _, customer, _ in calls} | {f"S{n:04d}" for n in range(silent)})
    return (
        frame("contacts", [a_contact(name, customer) for name, customer, _ in calls]),
        frame("recordings", [a_recording(name, voice=voice) for name, _, voice in calls]),
        frame("customers", [a_customer(name, phone=None) for name in people]),
    )


def scattered(calls: int, people: int, voices: int, seed: int = 1) -> list[tuple[str, str, str]]:
    rng = random.Random(seed)
    return [
        (f"k{n:04d}", f"C{rng.randrange(people):04d}", f"v{rng.randrange(voices)}")
        for n in range(calls)
    ]


def test_no_customer_and_no_voice_is_on_two_sides() -> None:
    calls = [(f"k{n}", f"C{n // 2}", f"v{n // 3}") for n in range(300)]
    divided, summary = split(*a_centre(calls), params=SplitParams(max_component_share=1.0))
    for column in ("customer_id", "voice_group"):
        sides = divided.drop_nulls(column).group_by(column).agg(pl.col("split").n_unique())
        assert sides["split"].max() == 1
    assert summary.contacts_aside == 0
    assert sum(summary.contacts.values()) == 300


def test_shares_are_near_what_was_asked_for() -> None:
    _, summary = split(
        *a_centre([], silent=4000), params=SplitParams(valid_share=0.1, test_share=0.2)
    )
    assert summary.customers["test"] == pytest.approx(800, abs=100)
    assert summary.customers["valid"] == pytest.approx(400, abs=80)


def test_customers_who_come_later_move_nobody() -> None:
    before, _ = split(
        *a_centre([(f"k{n}", f"C{n}", f"v{n}") for n in range(200)], silent=200),
        params=SplitParams(),
    )
    after, _ = split(
        *a_centre([(f"k{n}", f"C{n}", f"v{n}") for n in range(260)], silent=300),
        params=SplitParams(),
    )
    both = customer_splits(before).join(customer_splits(after), on="customer_id", suffix="_after")
    assert both.height == 400
    assert both.filter(pl.col("split") != pl.col("split_after")).is_empty()


def test_another_seed_is_another_division() -> None:
    centre = a_centre([], silent=200)
    first, other = (
        customer_splits(split(*centre, params=SplitParams(seed=seed))[0]) for seed in (0, 1)
    )
    assert not first.equals(other)


def test_a_giant_component_is_cut_between_voices_and_what_would_cross_is_counted() -> None:
    calls = scattered(calls=400, people=150, voices=30)
    divided, summary = split(*a_centre(calls), params=SplitParams())
    assert summary.largest_component_share > 0.9
    assert "hang together" in summary.notes[0]
    assert_disjoint(divided)
    assert 0 < summary.contacts_aside == divided.filter(pl.col("split") == EXCLUDED).height < 250
    assert min(summary.recorded.values()) > 0
    assert set(customer_splits(divided)["split"]) == {"train", "valid", "test"}


def test_voices_heard_fill_in_where_the_source_names_none() -> None:
    contacts, recordings, customers = a_centre([(f"k{n}", f"C{n}", None) for n in range(60)])
    voice_groups = pl.DataFrame(
        {
            "contact_id": [f"k{n}" for n in range(60)],
            "voice_group": [f"h{n % 12}" for n in range(60)],
        }
    )
    divided, summary = split(
        contacts, recordings, customers, params=SplitParams(), voice_groups=voice_groups
    )
    assert summary.voice_groups == 12
    assert (
        divided.drop_nulls("voice_group")
        .group_by("voice_group")
        .agg(pl.col("split").n_unique())["split"]
        .max()
        == 1
    )


def test_few_voices_still_leave_something_to_judge_on() -> None:
    calls = [(f"k{n}", f"C{n}", f"v{n % 4}") for n in range(40)]
    for seed in range(10):
        _, summary = split(*a_centre(calls), params=SplitParams(seed=seed))
        assert min(summary.recorded.values()) > 0, (seed, summary)


def test_every_customer_has_a_side_also_without_a_contact() -> None:
    divided, _ = split(*a_centre([("k1", "C1", "v1")], silent=9), params=SplitParams())
    assert customer_splits(divided)["customer_id"].to_list() == [
        "C1",
        *[f"S{n:04d}" for n in range(9)],
    ]


@pytest.mark.parametrize(
    ("column", "name"), [("customer_id", "customer C1"), ("voice_group", "voice v1")]
)
def test_a_leak_is_named(column: str, name: str) -> None:
    sides = pl.DataFrame(
        {
            "contact_id": ["a", "b"],
            "customer_id": ["C1", "C2"],
            "voice_group": ["v1", "v2"],
            "split": ["train", "test"],
        }
    ).with_columns(pl.col(column).first())
    with pytest.raises(LeakError, match=name):
        assert_disjoint(sides)


def test_shares_that_leave_nothing_to_train_on_are_refused() -> None:
    with pytest.raises(ValueError, match="something to train on"):
        SplitParams(valid_share=0.5, test_share=0.5)
