"""C1: point-in-time features: whatever happens after the as-of date changes nothing."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import numpy as np
import polars as pl

from data.features.features import FeatureParams, features
from data.labelling import label
from data.labelling.scheme import SCHEME, LabellingParams
from data.records import CHANNELS, LABELS, TURNS, Contact, Outcome, frame
from tests.factories import a_contact, a_customer, an_outcome

AS_OF = [date(2026, 2, 1), date(2026, 3, 1)]
Row = tuple[str, str, str, float, str]  # a row of the table of labels
FIRST = datetime(2025, 12, 1, tzinfo=UTC)


def a_history(
    days: float, seed: int, prefix: str, begin: datetime
) -> tuple[list[Contact], list[Row]]:
    """Contacts of 40 customers within `days` from `begin`, and a label of each kind for every one
    of them.
    """
    rng = np.random.default_rng(seed)
    contacts = [
        a_contact(
            f"{prefix}{n}",
            f"C{rng.integers(40)}",
            channel=str(rng.choice(CHANNELS)),
            wait_s=float(rng.integers(900)),
            started_at=begin + timedelta(seconds=float(rng.uniform(0, days * 86400))),
        )
        for n in range(300)
    ]
    labels = [
        (
            contact.contact_id,
            label,
            str(rng.choice(values)),
            float(rng.uniform(0.5, 1)),
            "label_model",
        )
        for contact in contacts
        for label, values in SCHEME.items()
    ]
    return contacts, labels


def computed(
    contacts: list[Contact], label_rows: list[Row], outcomes: list[Outcome]
) -> pl.DataFrame:
    given = {
        "customers": frame("customers", [a_customer(f"C{n}") for n in range(40)]),
        "contacts": frame("contacts", contacts),
        "outcomes": frame("outcomes", outcomes),
    }
    labels = pl.DataFrame(label_rows, schema=LABELS, orient="row")
    return features(given, labels, AS_OF, params=FeatureParams())


def test_C1_events_added_after_the_as_of_date_change_nothing() -> None:
    seen_until = date(2026, 6, 30)
    stay = [
        an_outcome(f"C{n}", happened=False, on=None, observed_until=seen_until) for n in range(40)
    ]
    days = [date(2026, 3, 1 + n // 2) if n % 2 == 0 else None for n in range(40)]
    leave = [
        an_outcome(f"C{n}", happened=day is not None, on=day, observed_until=seen_until)
        for n, day in enumerate(days)
    ]
    past, labels = a_history(90, 1, "past", FIRST)  # until 1 March, the last as-of date
    future, more = a_history(60, 2, "future", datetime(2026, 3, 1, tzinfo=UTC))
    before = computed(past, labels, stay)
    after = computed(past + future, labels + more, leave)
    known = [name for name in before.columns if name not in ("event", "time_days")]
    assert before.height == 80
    assert before.select(known).equals(after.select(known))
    assert not before["event"].equals(after["event"])  # the targets, and only they, know what came


def moved(params: LabellingParams) -> tuple[bool, bool]:
    """Whether labels of the past, and features as of it, differ when 200 later contacts are known.

    Labels are made by the rules and the label model, from queues, wrap-up codes, waits and history.
    """
    rng = np.random.default_rng(4)
    queues, codes = ("billing", "retention", "technical"), ("resolved", "unresolved", None)
    known = [
        replace(contact, queue=str(rng.choice(queues)), disposition=codes[rng.integers(3)])
        for contact in a_history(90, 1, "past", FIRST)[0]
    ]
    future = [
        replace(contact, queue="retention", disposition="unresolved", wait_s=800.0)
        for contact in a_history(60, 2, "future", datetime(2026, 3, 1, tzinfo=UTC))[0]
    ]
    silence = pl.DataFrame(schema=TURNS)
    before, after = (
        label(frame("contacts", contacts), silence, params).labels
        for contacts in (known, known + future)
    )
    of_past = after.filter(pl.col("contact_id").str.starts_with("past"))
    outcomes = [an_outcome(f"C{n}", happened=False, on=None) for n in range(40)]
    rows = [
        computed(contacts, labels.rows(), outcomes)
        for contacts, labels in ((known, before), (known + future, after))
    ]
    assert rows[0]["friction_long_wait_decayed"].sum() > 0
    key = ["label", "contact_id"]
    return not before.sort(key).equals(of_past.sort(key)), not rows[0].equals(rows[1])


def test_C1_contacts_after_the_as_of_date_change_no_label_of_the_past() -> None:
    assert moved(LabellingParams()) == (False, False)
    assert moved(LabellingParams(walk_forward=False)) == (True, True)


def test_C1_events_before_the_as_of_date_do_show() -> None:
    stay = [
        an_outcome(f"C{n}", happened=False, on=None, observed_until=date(2026, 6, 30))
        for n in range(40)
    ]
    past, labels = a_history(90, 1, "past", FIRST)
    more, extra = a_history(20, 3, "more", datetime(2026, 2, 5, tzinfo=UTC))
    before, after = computed(past, labels, stay), computed(past + more, labels + extra, stay)
    february, march = ((before.filter(as_of=day), after.filter(as_of=day)) for day in AS_OF)
    assert february[0].equals(february[1])
    assert not march[0].equals(march[1])
