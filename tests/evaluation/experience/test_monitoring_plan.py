"""Contacts worth hearing: what deserves a person's time, and a lot that keeps rates honest."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest

from data.records import LABELS, frame
from evaluation.experience.monitoring_plan import (
    MONITORING_PLAN,
    MonitoringPlanParams,
    monitoring_plan,
)
from tests.factories import START, a_contact

NO_RISKS = pl.DataFrame(schema={"customer_id": pl.String, "risk": pl.Float64})


def contacts(count: int, **changes: Any) -> pl.DataFrame:
    return frame(
        "contacts", [a_contact(f"call-{n:03d}", f"C{n:03d}", **changes) for n in range(count)]
    )


def label(
    contact: int, name: str, value: str = "yes", probability: float = 0.95
) -> tuple[str, str, str, float, str]:
    return f"call-{contact:03d}", name, value, probability, "label_model"


def labels(*rows: tuple[str, str, str, float, str]) -> pl.DataFrame:
    return pl.DataFrame(list(rows), schema=LABELS, orient="row")


def risks(**of: float) -> pl.DataFrame:
    return pl.DataFrame({"customer_id": list(of), "risk": list(of.values())})


def chosen(plan: pl.DataFrame) -> list[str]:
    return plan.filter(pl.col("stratum") == "chosen")["contact_id"].to_list()


ONLY_CHOSEN = MonitoringPlanParams(chosen=2, random=0)


def test_between_equal_contacts_the_customer_at_higher_risk_comes_first() -> None:
    marked = labels(*(label(n, "friction_ivr_dead_end") for n in range(3)))
    plan = monitoring_plan(
        contacts(3), marked, risks(C000=0.1, C001=0.6, C002=0.3), params=ONLY_CHOSEN
    )
    assert chosen(plan) == ["call-001", "call-002"]


def test_between_equal_customers_the_contact_with_friction_comes_first() -> None:
    marked = labels(label(0, "friction_ivr_dead_end", "no"), label(1, "friction_ivr_dead_end"))
    plan = monitoring_plan(
        contacts(2), marked, NO_RISKS, params=MonitoringPlanParams(chosen=1, random=0)
    )
    assert chosen(plan) == ["call-001"]


def test_several_bad_things_are_worse_than_one() -> None:
    single = label(0, "friction_transfer")
    several = [
        label(1, "friction_transfer"),
        label(1, "sentiment", "negative"),
        label(1, "friction_long_wait"),
    ]
    plan = monitoring_plan(contacts(2), labels(single, *several), NO_RISKS, params=ONLY_CHOSEN)
    assert chosen(plan)[0] == "call-001"
    assert plan["trouble"].is_between(0, 1).all()


def test_unsure_labels_are_worth_more_than_sure_ones_of_the_same_trouble() -> None:
    marked = labels(
        label(0, "friction_transfer", probability=0.9),
        label(0, "reason", "billing", 0.99),
        label(1, "friction_transfer", probability=0.9),
        label(1, "reason", "billing", 0.5),
    )
    assert (
        chosen(monitoring_plan(contacts(2), marked, NO_RISKS, params=ONLY_CHOSEN))[0] == "call-001"
    )
    sure = MonitoringPlanParams(chosen=2, random=0, doubt_weight=0.0)
    assert monitoring_plan(contacts(2), marked, NO_RISKS, params=sure)["value"].n_unique() == 1


def test_a_contact_one_half_life_older_is_worth_half() -> None:
    old = a_contact("call-000", "C000", started_at=START - timedelta(days=60))
    rows = frame("contacts", [old, a_contact("call-001", "C001")])
    marked = labels(label(0, "friction_transfer"), label(1, "friction_transfer"))
    plan = monitoring_plan(
        rows, marked, NO_RISKS, params=MonitoringPlanParams(chosen=2, random=0, half_life_days=60)
    )
    values = dict(plan.select("contact_id", "value").iter_rows())
    assert values["call-000"] == pytest.approx(values["call-001"] / 2)


def test_one_customer_does_not_fill_the_list() -> None:
    rows = frame(
        "contacts", [a_contact(f"call-{n:03d}", "C001" if n < 3 else "C002") for n in range(4)]
    )
    marked = labels(*(label(n, "friction_ivr_dead_end") for n in range(4)))
    plan = monitoring_plan(rows, marked, risks(C001=0.9, C002=0.1), params=ONLY_CHOSEN)
    assert plan["customer_id"].to_list() == ["C001", "C002"]


def test_the_lot_is_marked_and_never_repeats_a_chosen_contact() -> None:
    marked = labels(*(label(n, "friction_ivr_dead_end") for n in range(30)))
    plan = monitoring_plan(
        contacts(30), marked, NO_RISKS, params=MonitoringPlanParams(chosen=5, random=10)
    )
    assert plan["stratum"].to_list() == ["chosen"] * 5 + ["random"] * 10
    assert plan["contact_id"].n_unique() == 15
    assert plan.filter(pl.col("stratum") == "random")[
        "inclusion_probability"
    ].unique().to_list() == [10 / 25]
    assert (
        plan.filter(pl.col("stratum") == "random")["why"][0]
        == "Drawn by lot: 10 of 25 other contacts."
    )


def test_rates_weighted_by_inclusion_probability_are_unbiased() -> None:
    """200 contacts, 60 of them bad; the chosen are nearly all bad, yet the weighted rate is right on average."""
    rng = np.random.default_rng(3)
    bad = set(rng.choice(200, 60, replace=False).tolist())
    marked = labels(
        *(label(n, "friction_ivr_dead_end", "yes", 0.9 if n in bad else 0.2) for n in range(200))
    )
    rows, rates, naive = contacts(200), [], []
    for seed in range(200):
        plan = monitoring_plan(
            rows, marked, NO_RISKS, params=MonitoringPlanParams(chosen=20, random=20, seed=seed)
        )
        harm = np.array([int(name[-3:]) in bad for name in plan["contact_id"]], dtype=float)
        weight = 1 / plan["inclusion_probability"].to_numpy()
        rates.append((harm * weight).sum() / weight.sum())
        naive.append(harm.mean())
    error = np.std(rates) / np.sqrt(len(rates))
    assert abs(np.mean(rates) - 0.3) < 4 * error
    assert np.mean(naive) > 0.5


def test_the_same_contacts_in_another_order_give_the_same_answer() -> None:
    rows = contacts(40)
    marked = labels(*(label(n, "friction_transfer", "yes", 0.5 + n / 100) for n in range(40)))
    at_risk = risks(**{f"C{n:03d}": n / 50 for n in range(40)})
    first = monitoring_plan(rows, marked, at_risk, params=MonitoringPlanParams())
    again = monitoring_plan(
        rows.reverse(), marked.reverse(), at_risk.reverse(), params=MonitoringPlanParams()
    )
    assert first.equals(again)


def test_why_says_what_counted_in_plain_words() -> None:
    marked = labels(
        label(0, "friction_ivr_dead_end", "yes", 0.92), label(0, "sentiment", "negative", 0.81)
    )
    plan = monitoring_plan(contacts(1), marked, risks(C000=0.34), params=ONLY_CHOSEN)
    assert plan["why"][0] == (
        "Risk of leaving within 180 days 34% (half of all customers are above 34%); the menu led nowhere (92%); "
        "the customer was unhappy (81%); the labels are unsure, so hearing it teaches."
    )


def test_nothing_to_hear_is_an_empty_table_with_its_columns() -> None:
    plan = monitoring_plan(contacts(0), labels(), NO_RISKS, params=MonitoringPlanParams())
    assert plan.is_empty()
    assert dict(plan.schema) == MONITORING_PLAN


def test_without_labels_only_the_lot_is_left() -> None:
    plan = monitoring_plan(
        contacts(10), labels(), NO_RISKS, params=MonitoringPlanParams(chosen=5, random=3)
    )
    assert plan["stratum"].to_list() == ["random"] * 3


def test_two_risks_for_one_customer_are_refused_by_name() -> None:
    twice = pl.DataFrame({"customer_id": ["C000", "C000"], "risk": [0.1, 0.2]})
    with pytest.raises(ValueError, match="customer C000: more than one risk"):
        monitoring_plan(contacts(1), labels(), twice, params=MonitoringPlanParams())
