"""C5: reasons with evidence: the contact, the second in its recording and the words; stable under
small noise.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import numpy as np
import polars as pl

from data.features.evidence import find_evidence
from data.labelling import label
from data.records import frame
from tests.factories import a_contact, a_turn
from tests.models.churn.test_model import a_frame, a_model

DAY = date(2026, 6, 1)
SAID = [
    ("agent", "thank you for calling how can i help"),
    ("customer", "hello my bill is wrong"),
    ("agent", "i would need my supervisor to approve that and she is not here"),
    ("customer", "then please cancel my contract i want to cancel"),
]


def a_centre() -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """A call in which somebody cancels, an earlier and a later one without trouble, and what was
    said in them.
    """
    began = datetime(2026, 6, 1, tzinfo=UTC)
    contacts = [
        a_contact("old", started_at=began - timedelta(days=200)),
        a_contact("bad", started_at=began - timedelta(days=5)),
        a_contact("later", started_at=began + timedelta(days=5)),
    ]
    turns = [
        a_turn("bad", n, role, text, start_s=4.0 * n, end_s=4.0 * n + 3)
        for n, (role, text) in enumerate(SAID)
    ] + [
        a_turn(
            name,
            0,
            "customer",
            "please cancel my contract i want to cancel",
            start_s=1.0,
            end_s=3.0,
        )
        for name in ("old", "later")
    ]
    tables = frame("contacts", contacts), frame("turns", turns)
    return (*tables, label(*tables).labels)


def test_C5_each_reason_links_to_the_contact_the_second_and_the_words() -> None:
    contacts, turns, labels = a_centre()
    reasons = pl.DataFrame(
        {
            "customer_id": "C1",
            "as_of": [DAY] * 3,
            "rank": [1, 2, 3],
            "feature": ["reason_cancel_decayed", "barrier_authority_365d", "monthly_price"],
        }
    )
    evidence = find_evidence(reasons, contacts=contacts, labels=labels, turns=turns).to_dicts()
    # The nearest one before the day.
    assert [row["contact_id"] for row in evidence] == [
        "bad",
        "bad",
        None,
    ]
    assert [row["start_s"] for row in evidence] == [12.0, 8.0, None]
    assert "cancel" in evidence[0]["words"]
    assert "supervisor" in evidence[1]["words"]


def test_C5_reasons_hold_under_small_noise() -> None:
    model, customers = a_model(), a_frame(300)
    rng = np.random.default_rng(1)
    shaken = customers.with_columns(
        pl.Series(name, customers[name].to_numpy() * (1 + rng.normal(0, 0.01, customers.height)))
        for name in ("contacts_30d", "friction_30d")
    )
    before, after = (model.reasons(rows, top=1) for rows in (customers, shaken))
    strong = (before["contribution"].abs() > 0.02).to_numpy()
    assert strong.sum() > 100
    assert (before["group"] == after["group"]).to_numpy()[strong].mean() > 0.95
