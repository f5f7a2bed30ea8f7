"""C2: risk at 30, 90, 180 and 365 days with censoring: one monotone curve a customer, near the true
risk.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from data.features.features import FeatureParams, features
from data.records import CONTACTS, CUSTOMERS, LABELS, OUTCOMES, RECORDINGS
from data.splits import SplitParams, customer_splits, split
from evaluation.metrics.churn import attainable_skill, point_metrics
from evaluation.metrics.churn_references import kaplan_meier, logistic
from models.churn.model import ChurnModel, feature_columns
from training.churn.settings import ChurnTraining
from training.churn.train import train
from training.run import UnrecordedRun

HORIZONS = (30, 90, 180, 365)
AS_OF = date(2025, 6, 1)
# The test rows, the risks that each model predicts for them, and the true risks.
Predictions = tuple[pl.DataFrame, dict[str, pl.DataFrame], pl.DataFrame]


def a_world(
    customers: int = 3000, seed: int = 3
) -> tuple[dict[str, pl.DataFrame], pl.DataFrame, pl.DataFrame]:
    """Tables, labels and true risks. New and old customers leave more often than those between;
    friction that was not followed by a good contact multiplies the hazard, the more the nearer, and
    on a flexible plan twice as much.
    """
    rng = np.random.default_rng(seed)
    names = [f"C{n}" for n in range(customers)]
    tenure_days, flex = rng.integers(120, 2500, customers), rng.random(customers) < 0.4
    trouble, contacts, labels = np.zeros(customers), [], []
    for n, name in enumerate(names):
        for k, age_days in enumerate(sorted(rng.uniform(0, 120, rng.poisson(1.2)), reverse=True)):
            bad = rng.random() < 0.5
            trouble[n] = trouble[n] + np.exp(-age_days / 60) if bad else 0.3 * trouble[n]
            began = datetime(2025, 6, 1, tzinfo=UTC) - timedelta(days=float(age_days))
            contacts.append((f"{name}-{k}", name, "phone", began))
            labels.append(
                (f"{name}-{k}", "friction_unresolved", "yes" if bad else "no", 1.0, "person")
            )
    settled = np.abs(np.log(tenure_days / 600))
    hazard = 0.0004 * np.exp(0.9 * settled + np.minimum(trouble, 2.5) * np.where(flex, 1.6, 0.8))
    leaves, seen = np.ceil(rng.exponential(1 / hazard)), rng.integers(60, 500, customers)
    left = leaves <= seen
    days = [AS_OF + timedelta(days=int(day) - 1) for day in leaves]
    tables = {
        "customers": pl.DataFrame(
            {
                "customer_id": names,
                "plan": np.where(flex, "flex", "fixed"),
                "monthly_price": rng.uniform(10, 50, customers),
                "since": [AS_OF - timedelta(days=int(days)) for days in tenure_days],
                "attributes": "{}",
            }
        ),
        "contacts": pl.DataFrame(
            contacts, schema=["contact_id", "customer_id", "channel", "started_at"], orient="row"
        ),
        "outcomes": pl.DataFrame(
            {
                "customer_id": names,
                "event": "churn",
                "happened": left,
                "on": [day if gone else None for day, gone in zip(days, left, strict=True)],
                "observed_until": [AS_OF + timedelta(days=int(day) - 1) for day in seen],
            }
        ),
    }
    schemas: dict[str, Any] = {"customers": CUSTOMERS, "contacts": CONTACTS, "outcomes": OUTCOMES}
    tables = {
        name: pl.concat([pl.DataFrame(schema=schemas[name]), table], how="diagonal_relaxed").cast(
            schemas[name]
        )
        for name, table in tables.items()
    }
    truth = pl.DataFrame({"customer_id": names, "as_of": [AS_OF] * customers}).with_columns(
        pl.Series(f"risk_{days}", 1 - np.exp(-hazard * days)) for days in HORIZONS
    )
    return tables, pl.DataFrame(labels, schema=LABELS, orient="row"), truth


@pytest.fixture(scope="module")
def predictions(tmp_path_factory: pytest.TempPathFactory) -> Predictions:
    tables, labels, truth = a_world()
    divided, _ = split(
        tables["contacts"],
        pl.DataFrame(schema=RECORDINGS),
        tables["customers"],
        params=SplitParams(seed=1, test_share=0.3),
    )
    rows = features(tables, labels, [AS_OF], params=FeatureParams()).join(
        customer_splits(divided), on="customer_id"
    )
    summary = train(ChurnTraining(), rows, tmp_path_factory.mktemp("churn"), run=UnrecordedRun())
    learned, test = rows.filter(split="train"), rows.filter(split="test")
    predicted = {
        "network": ChurnModel.load(Path(summary["model"])).predict(test),
        "life table": kaplan_meier(learned, test, HORIZONS),
        "logistic": logistic(learned, test, feature_columns(rows), horizons_days=HORIZONS),
    }
    return test, predicted, truth


def test_C2_beats_kaplan_meier_and_logistic_on_brier(predictions: Predictions) -> None:
    test, predicted, _ = predictions
    brier = {
        name: point_metrics(test.join(risks, on=["customer_id", "as_of"]))
        for name, risks in predicted.items()
    }
    for days in HORIZONS:
        assert brier["network"][f"brier_{days}"] < brier["life table"][f"brier_{days}"], days
    mean = {
        name: np.mean([figures[f"brier_{days}"] for days in HORIZONS])
        for name, figures in brier.items()
    }
    assert mean["network"] < mean["logistic"]


def test_C2_is_near_the_true_risk(predictions: Predictions) -> None:
    _, predicted, truth = predictions
    skill = {name: attainable_skill(risks, truth) for name, risks in predicted.items()}
    both = predicted["network"].join(truth, on=["customer_id", "as_of"], suffix="_true")
    for days in HORIZONS:
        name = f"risk_{days}"
        assert skill["network"][name] > max(0.5, skill["logistic"][name]), days
        assert np.corrcoef(both[name], both[f"{name}_true"])[0, 1] > 0.75, days


def test_C2_one_monotone_curve_a_customer(predictions: Predictions) -> None:
    test, predicted, _ = predictions
    curves = predicted["network"].select(f"risk_{days}" for days in HORIZONS).to_numpy()
    assert len(curves) == test["customer_id"].n_unique() > 700
    assert (np.diff(curves, axis=1) > 0).all()
