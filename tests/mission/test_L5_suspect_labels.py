"""L5: labels that are probably wrong are found and listed, planted errors first."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from data.plain_table import columns_of, identifiers, values_of
from evaluation.label_issues import label_issues
from training.churn.boosting import Boosting
from training.churn.settings import TABLE
from training.churn.table import TableFit, find_target_issues, fit_table
from training.label_issues import find_label_issues, find_outcome_issues


def test_L5_planted_errors_of_a_target_come_up_first(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    rows = 1200
    trouble, tenure = rng.poisson(1.0, rows), rng.uniform(0, 60, rows)
    plan = rng.choice(["flex", "plus"], rows)
    left = rng.random(rows) < 1 / (
        1 + np.exp(-(3.0 * trouble - 0.12 * tenure + 2 * (plan == "flex") - 2))
    )
    wrong = rng.choice(rows, 60, replace=False)
    event = left.copy()
    event[wrong] = ~event[wrong]
    frame = pl.DataFrame(
        {
            "who": [f"c{n}" for n in range(rows)],
            "trouble": trouble,
            "tenure": tenure,
            "plan": plan,
            "churn": event,
        }
    )
    columns = columns_of(frame, "churn", positive=None, id="who", exclude=[])
    fit = TableFit(
        folds=4,
        churn=replace(TABLE, epochs=6, hidden=16, members=4, boosting=Boosting(rounds=60, depth=3)),
    )
    fitted = fit_table(
        values_of(frame, columns),
        frame["churn"],
        identifiers(frame, "who"),
        columns=columns,
        params=fit,
        work_dir=tmp_path,
    )
    assert fitted.predictions.height == rows
    listed, share = find_target_issues(fitted.predictions)
    names = listed["customer_id"].to_list()
    share_listed = sum(f"c{n}" in names[:60] for n in wrong) / 60
    assert share_listed > 0.5  # 60 of 1,200 drawn by lot would be 0.05
    assert names[0] in {f"c{n}" for n in wrong}
    assert 0.02 < share < 0.2
    assert (listed["given"] != listed["suggested"]).all()


def test_L5_planted_errors_of_contact_labels_come_up_first() -> None:
    rng = np.random.default_rng(0)
    words = {
        "billing": "the invoice charges me twice for this month",
        "outage": "the line is down since this morning",
        "cancel": "i want to end my contract and leave",
    }
    true = rng.choice(list(words), 300)
    filler = [
        "well",
        "so",
        "please",
        "thanks",
        "today",
        "again",
        "really",
        "just",
        "hello",
        "maybe",
    ]
    turns = pl.DataFrame(
        {
            "contact_id": [f"k{n}" for n in range(300)],
            "text": [
                " ".join(rng.permutation([*words[t].split(), *rng.choice(filler, 5)])[:9])
                for t in true
            ],
        }
    )
    given = true.copy()
    wrong = rng.choice(300, 15, replace=False)
    for n in wrong:
        given[n] = rng.choice([value for value in words if value != true[n]])
    labels = turns.select("contact_id", pl.lit("reason").alias("label"), pl.Series("value", given))
    customers = turns.select(
        "contact_id", pl.format("u{}", pl.int_range(300) // 2).alias("customer_id")
    )
    listed = find_label_issues(labels, turns, customers)
    planted = {f"k{n}": true[n] for n in wrong}
    first = listed.head(15)
    assert sum(name in planted for name in first["id"]) >= 12  # by lot it would be less than one
    assert all(
        planted[row["id"]] == row["suggested"]
        for row in first.iter_rows(named=True)
        if row["id"] in planted
    )


def test_L5_clean_labels_are_not_doubted() -> None:
    """Where classes are told apart without doubt nobody is suspect, and nothing is said to be
    wrong.
    """
    given = np.repeat([0, 1], [300, 40])
    probabilities = np.where(given[:, None] == [0, 1], 0.97, 0.03)
    issues = label_issues(given, probabilities)
    assert len(issues.rows) == 0
    assert issues.noise_share == pytest.approx(0)


def test_L5_the_share_of_wrong_labels_is_estimated() -> None:
    rng = np.random.default_rng(1)
    true = rng.random(4000) < 0.3
    given = np.where(rng.random(4000) < 0.08, ~true, true).astype(int)
    risk = np.clip(np.where(true, 0.85, 0.1) + rng.normal(0, 0.05, 4000), 0, 1)
    assert label_issues(given, np.column_stack([1 - risk, risk])).noise_share == pytest.approx(
        0.08, abs=0.02
    )


def test_L5_a_label_that_the_model_holds_for_likelier_is_never_suspected() -> None:
    rng = np.random.default_rng(5)
    risk = rng.beta(1, 6, 2000)  # exact, and seldom above one half
    issues = label_issues((rng.random(2000) < risk).astype(int), np.column_stack([1 - risk, risk]))
    assert len(issues.rows)
    assert issues.margin.min() > 0


@pytest.mark.parametrize(
    ("given", "probabilities", "message"),
    [
        ([0, 1], [[0.5, 0.5]], "do not fit"),
        ([0, 1], [[0.5, np.nan], [0.5, 0.5]], "not within 0 and 1"),
        ([0, 0], [[0.5, 0.5], [0.5, 0.5]], "each with a row"),
    ],
)
def test_L5_what_does_not_fit_is_refused(
    given: list[int], probabilities: list[list[float]], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        label_issues(np.array(given), np.array(probabilities))


def test_L5_planted_errors_of_outcomes_come_up_first() -> None:
    """Customers in deep trouble left within weeks, the others stayed; a few are recorded the other
    way round.
    """
    rng = np.random.default_rng(2)
    trouble = rng.random(400) < 0.4
    wrong = rng.choice(400, 20, replace=False)
    left = trouble.copy()
    left[wrong] = ~left[wrong]
    rows = pl.DataFrame(
        {
            "customer_id": [f"c{n}" for n in range(400)],
            "as_of": pl.Series([date(2026, 1, 1)] * 400),
            "split": ["train"] * 400,
            "event": left,
            "time_days": np.where(left, rng.uniform(5, 150, 400), 300.0),
            "friction_30d": np.where(trouble, 3.0, 0.0) + rng.normal(0, 0.5, 400),
            "plan": rng.choice(["a", "b"], 400),
        }
    )
    listed = find_outcome_issues(rows, 180)
    assert listed["id"].n_unique() == listed.height
    # By lot it would be one.
    assert sum(name in {f"c{n}" for n in wrong} for name in listed.head(20)["id"]) >= 18
    assert listed.row(0, named=True)["label"] == "left within 180 days"
    assert (listed["given"] != listed["suggested"]).all()
