"""M2: delayed labels: each horizon is scored when it has passed; customers not yet matured are left
out.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from data.features.features import FeatureParams, as_of_dates, features, snapshot
from data.files import read_json, write_json, write_table
from data.records import LABELS, Contact, Customer, frame
from evaluation.churn.matured import archive_predictions
from flows.runtime.context import RunContext
from flows.runtime.params import Params
from flows.runtime.settings import from_environment
from flows.stages import churn, nightly
from tests.factories import a_contact, a_customer, an_outcome
from tests.registry_helpers import RegistryFixture
from training.churn.settings import ChurnTraining
from training.churn.train import train
from training.run import UnrecordedRun

SCORED = date(2026, 1, 1)
PEOPLE = 400
PARAMS = Params(
    features=FeatureParams(min_history_days=30, as_of_count=3),
    churn=ChurnTraining(
        epochs=2, hidden=8, members=2, min_customers=30, min_events=5, horizons_days=(30, 90)
    ),
)


def a_life(seed: int = 0) -> tuple[list[Customer], list[Contact], list[date]]:
    """Customers, contacts and the day each one leaves: the more contacts, the sooner."""
    rng = np.random.default_rng(seed)
    calls = rng.integers(0, 5, PEOPLE)
    begin = date(2025, 6, 1)
    leaves = [begin + timedelta(days=int(days)) for days in rng.exponential(1100 / (1 + calls))]
    contacts = [
        a_contact(
            f"k{n}-{k}",
            f"C{n}",
            started_at=datetime.combine(begin, time(9), UTC) + timedelta(days=int(day)),
        )
        for n in range(PEOPLE)
        for k, day in enumerate(rng.integers(0, 200, calls[n]))
        if begin + timedelta(days=int(day)) < leaves[n]
    ]
    return [a_customer(f"C{n}", since=date(2024, 1, 1)) for n in range(PEOPLE)], contacts, leaves


def delivered(until: date, lost: tuple[str, ...] = ()) -> dict[str, pl.DataFrame]:
    """Everything known at the end of `until`; of those `lost` nobody has heard since 20 days after
    they were scored.
    """
    people, contacts, leaves = a_life()
    outcomes = []
    for n, day in enumerate(leaves):
        seen = min(until, SCORED + timedelta(days=20)) if f"C{n}" in lost else until
        outcomes.append(
            an_outcome(f"C{n}", day <= seen, on=day if day <= seen else None, observed_until=seen)
        )
    started = [contact for contact in contacts if contact.started_at.date() <= until]
    return {
        "customers": frame("customers", people),
        "contacts": frame("contacts", started),
        "outcomes": frame("outcomes", outcomes),
    }


@pytest.fixture(scope="module")
def centre(tmp_path_factory: pytest.TempPathFactory) -> RunContext:
    """A store in which a network trained until New Year has scored everybody then, by the scoring
    stage.
    """
    store = tmp_path_factory.mktemp("matured") / "store"
    context = RunContext(from_environment({}, store), PARAMS, "commit")
    tables, labels = delivered(SCORED - timedelta(days=1)), pl.DataFrame(schema=LABELS)
    months = as_of_dates(tables["outcomes"], tables["contacts"], PARAMS.features)
    sides = pl.DataFrame({"customer_id": [f"C{n}" for n in range(PEOPLE)]}).with_columns(
        pl.when(pl.int_range(pl.len()) % 4 == 0)
        .then(pl.lit("valid"))
        .otherwise(pl.lit("train"))
        .alias("split")
    )
    rows = features(tables, labels, months, params=PARAMS.features).join(sides, on="customer_id")
    summary = train(PARAMS.churn, rows, store / "churn", run=UnrecordedRun())
    today = snapshot(tables["outcomes"], tables["contacts"], PARAMS.features)
    assert today == SCORED
    write_table(
        store / "current.parquet", features(tables, labels, [today], params=PARAMS.features)
    )
    write_table(store / "labels.parquet", labels)
    write_table(store / "transcripts.parquet", frame("turns", []))
    write_json(
        store / "active/churn.json", {"model": "churn v1", "version": 1, "path": summary["model"]}
    )
    deliver(context, tables)
    churn.score(context, lambda done, total: None)
    RegistryFixture(store)
    return context


def deliver(context: RunContext, tables: dict[str, pl.DataFrame]) -> None:
    for name, table in tables.items():
        write_table(context.path(f"clean/{name}.parquet"), table)


def night_of(
    context: RunContext, day: date, lost: tuple[str, ...] = ()
) -> dict[int, dict[str, Any]]:
    """What the nightly stage finds with everything delivered that was known on the evening before
    `day`.
    """
    deliver(context, delivered(day - timedelta(days=1), lost))
    summary = nightly.nightly(context, lambda done, total: None)
    assert len(read_json(context.path("nightly.json"))["matured"]) == len(summary["matured"])
    return {row["horizon_days"]: row for row in summary["matured"]}


def truly_left(days: int) -> np.ndarray:
    """Of those scored, who left within so many days."""
    _, _, leaves = a_life()
    remaining = [day for day in leaves if day >= SCORED]
    return np.array([(day - SCORED).days < days for day in remaining])


def test_M2_nothing_is_scored_before_its_time(centre: RunContext) -> None:
    by_horizon = night_of(centre, SCORED + timedelta(days=29))
    assert {days: (row["matured"], row["metrics"]) for days, row in by_horizon.items()} == {
        30: (0, None),
        90: (0, None),
    }
    assert by_horizon[30]["waiting"] == len(truly_left(30)) > 200


def test_M2_each_horizon_is_scored_when_it_has_passed(centre: RunContext) -> None:
    month = night_of(centre, SCORED + timedelta(days=30))
    assert (month[30]["waiting"], month[90]["matured"]) == (0, 0)
    assert month[30]["metrics"]["observed_rate"]["value"] == pytest.approx(truly_left(30).mean())
    assert month[90]["metrics"] is None, (
        "those who left early are known, but not yet who will have stayed"
    )
    quarter = night_of(centre, SCORED + timedelta(days=90))
    assert quarter[90]["metrics"]["observed_rate"]["value"] == pytest.approx(truly_left(90).mean())
    risks = pl.read_parquet(next(centre.path("scored").glob("*.parquet"))).sort("customer_id")
    left = dict(
        zip(
            [f"C{n}" for n, day in enumerate(a_life()[2]) if day >= SCORED],
            truly_left(90),
            strict=True,
        )
    )
    brier = np.mean(
        [
            (risk - left[who]) ** 2
            for who, risk in risks.select("customer_id", "risk_90").iter_rows()
        ]
    )
    assert quarter[90]["metrics"]["brier"]["value"] == pytest.approx(brier)
    assert quarter[90]["metrics"]["brier"]["low"] < brier < quarter[90]["metrics"]["brier"]["high"]
    assert month[30]["metrics"]["brier"] == quarter[30]["metrics"]["brier"], (
        "what has matured does not change any more"
    )


def test_M2_customers_lost_sight_of_do_not_bend_the_figures(centre: RunContext) -> None:
    every_third = tuple(f"C{n}" for n in range(0, PEOPLE, 3))
    quarter = night_of(centre, SCORED + timedelta(days=90), lost=every_third)[90]
    assert quarter["matured"] == len(truly_left(90))
    rate = quarter["metrics"]["observed_rate"]
    assert rate["low"] < truly_left(90).mean() < rate["high"]
    assert rate["value"] == pytest.approx(truly_left(90).mean(), abs=0.04)


def test_M2_scores_of_a_later_day_wait_for_themselves(centre: RunContext) -> None:
    kept = next(centre.path("scored").glob("*.parquet"))
    later = pl.read_parquet(kept).with_columns(pl.lit(SCORED + timedelta(days=60)).alias("as_of"))
    archive_predictions(centre.path("scored"), later.drop("model"), "churn v1")
    by_horizon = night_of(centre, SCORED + timedelta(days=100))
    assert by_horizon[30]["as_of"] == [SCORED, SCORED + timedelta(days=60)]
    assert by_horizon[90]["as_of"] == [SCORED, SCORED]
    assert by_horizon[90]["waiting"] > 100


def test_M2_the_night_is_logged(centre: RunContext) -> None:
    by_horizon = night_of(centre, SCORED + timedelta(days=90))
    (run,) = _nightly_runs(centre.store)
    assert run["churn_v1_matured_90_brier"] == pytest.approx(
        by_horizon[90]["metrics"]["brier"]["value"]
    )


def _nightly_runs(store: Path) -> list[dict[str, float]]:
    from mlflow.tracking import MlflowClient

    client = MlflowClient(f"sqlite:///{store}/mlflow.db")
    experiment = client.get_experiment_by_name("keepline-nightly")
    assert experiment is not None
    return [run.data.metrics for run in client.search_runs([experiment.experiment_id])]
