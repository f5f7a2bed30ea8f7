"""Churn metrics promise the figures one would have had, had every customer been observed to the end."""

from __future__ import annotations

from datetime import date

import numpy as np
import polars as pl
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, brier_score_loss, log_loss, roc_auc_score

from evaluation.metrics.churn import (
    attainable_skill,
    churn_metrics,
    outcomes_by_horizon,
    point_metrics,
    unit_losses,
)
from evaluation.metrics.churn_references import kaplan_meier, logistic
from tests.typing_helpers import known

DAY = date(2026, 1, 1)


def predictions(
    rows: int = 3000,
    seed: int = 0,
    observed_days: tuple[float, float] = (900, 900),
    as_of: date = DAY,
) -> pl.DataFrame:
    """True 90-day risks from 0.02 to 0.7 as predictions; customers observed for a time from `observed_days`."""
    rng = np.random.default_rng(seed)
    risk = rng.uniform(0.02, 0.7, rows)
    leaves = rng.exponential(-90 / np.log1p(-risk))
    until = np.ceil(rng.uniform(*observed_days, rows))
    event = leaves <= until
    return pl.DataFrame(
        {
            "customer_id": [f"C{n}" for n in range(rows)],
            "as_of": [as_of] * rows,
            "event": event,
            "time_days": np.where(event, np.ceil(leaves), until),
            "risk_90": risk,
        }
    )


def test_with_everybody_observed_figures_are_the_usual_ones() -> None:
    frame = predictions()
    left = (frame["event"] & (frame["time_days"] <= 90)).to_numpy()
    risk = frame["risk_90"].to_numpy()
    figures = point_metrics(frame)
    assert figures["brier_90"] == pytest.approx(brier_score_loss(left, risk))
    assert figures["log_loss_90"] == pytest.approx(log_loss(left, risk))
    assert figures["auc_90"] == pytest.approx(roc_auc_score(left, risk))
    assert figures["average_precision_90"] == pytest.approx(average_precision_score(left, risk))
    logit = np.log(risk / (1 - risk))[:, None]
    assert figures["calibration_slope_90"] == pytest.approx(
        LogisticRegression(C=np.inf).fit(logit, left).coef_[0, 0], rel=1e-3
    )
    top = np.argsort(-risk)[:300]
    assert figures["lift_10_90"] == pytest.approx(left[top].mean() / left.mean(), rel=1e-6)


def test_ties_are_one_threshold() -> None:
    frame = predictions().with_columns(pl.col("risk_90").round(1))
    left = (frame["event"] & (frame["time_days"] <= 90)).to_numpy()
    assert point_metrics(frame)["auc_90"] == pytest.approx(roc_auc_score(left, frame["risk_90"]))
    assert point_metrics(frame)["average_precision_90"] == pytest.approx(
        average_precision_score(left, frame["risk_90"])
    )


def test_censoring_is_undone_by_weights() -> None:
    whole, cut = point_metrics(predictions(20_000)), predictions(20_000, observed_days=(10, 200))
    left, weight = outcomes_by_horizon(cut, 90)
    assert 0.2 < (weight == 0).mean() < 0.6
    assert np.average(left[weight > 0]) > 1.15 * np.average(
        left, weights=weight
    )  # what ignoring censoring would say
    figures = point_metrics(cut)
    for name in ("brier_90", "log_loss_90", "auc_90"):
        assert figures[name] == pytest.approx(whole[name], rel=0.03), name
    assert figures["calibration_intercept_90"] == pytest.approx(0, abs=0.06)
    assert figures["calibration_slope_90"] == pytest.approx(1, abs=0.06)


def test_weights_by_hand() -> None:
    """Five customers; one is lost on day 10 while four are under observation, so the rest weigh 4/3."""
    frame = pl.DataFrame(
        {
            "customer_id": list("abcde"),
            "as_of": [DAY] * 5,
            "event": [True, False, True, False, True],
            "time_days": [5.0, 10.0, 20.0, 90.0, 120.0],
        }
    )
    left, weight = outcomes_by_horizon(frame, 90)
    assert left.tolist() == [True, False, True, False, False]
    assert weight.tolist() == pytest.approx([1, 0, 4 / 3, 4 / 3, 4 / 3])


def test_a_date_nobody_was_followed_from_to_the_horizon_says_nothing() -> None:
    matured, green = (
        predictions(500),
        predictions(500, seed=1, observed_days=(60, 60), as_of=date(2026, 6, 1)),
    )
    both = pl.concat([matured, green.with_columns(pl.lit(0.999).alias("risk_90"))])
    assert point_metrics(both) == point_metrics(matured)
    assert churn_metrics(green, seed=0) == {}


def test_good_risks_are_calibrated_and_exaggerated_ones_are_not() -> None:
    frame = predictions(20_000)
    logit = (pl.col("risk_90") / (1 - pl.col("risk_90"))).log()
    loud = frame.with_columns((1 / (1 + (-2 * logit - 0.5).exp())).alias("risk_90"))
    good, bad = point_metrics(frame), point_metrics(loud)
    assert good["ece_90"] < 0.02 < 0.05 < bad["ece_90"]
    assert good["calibration_slope_90"] == pytest.approx(1, abs=0.06)
    assert bad["calibration_slope_90"] == pytest.approx(0.5, abs=0.03)


def test_intervals_hold_the_figure_and_count_customers_not_rows() -> None:
    frame = predictions(400)
    thrice = pl.concat(
        [frame.with_columns(pl.lit(date(2026, month, 1)).alias("as_of")) for month in (1, 2, 3)]
    )
    single, three = (churn_metrics(rows, seed=1)["risk_90"] for rows in (frame, thrice))
    for name in single:
        assert known(single[name].low) <= single[name].value <= known(single[name].high), name
        assert three[name].value == pytest.approx(single[name].value), name
        assert three[name].clusters == 400
        assert known(three[name].high) - known(three[name].low) == pytest.approx(
            known(single[name].high) - known(single[name].low), rel=0.35
        ), name


def test_losses_a_unit_add_up_to_the_figure() -> None:
    frame = predictions(observed_days=(10, 200))
    units = unit_losses(frame)
    figures = point_metrics(frame)
    for loss in ("brier", "log_loss"):
        weighted, weight = (units[loss] * units["weight"]).sum(), units["weight"].sum()
        assert float(weighted) / float(weight) == pytest.approx(figures[f"{loss}_90"])


def test_targets_without_dates_are_scored_as_they_are() -> None:
    frame = (
        predictions()
        .rename({"risk_90": "risk"})
        .with_columns(pl.lit(None, pl.Float64).alias("time_days"))
    )
    figures = point_metrics(frame)
    assert figures["auc"] == pytest.approx(roc_auc_score(frame["event"], frame["risk"]))
    assert set(churn_metrics(frame, seed=0)) == {"risk"}


def test_what_cannot_be_said_is_left_out_and_never_nan() -> None:
    with_outcome = predictions(500).with_columns(
        pl.lit(0.3).alias("risk_90")
    )  # a life table: one risk for all
    figures = point_metrics(with_outcome)
    assert "calibration_slope_90" not in figures
    assert figures["calibration_intercept_90"] != 0
    assert np.isfinite(list(figures.values())).all()
    alike = with_outcome.select("customer_id", "as_of", "risk_90")
    assert attainable_skill(alike, alike) == {}


def test_no_risk_column_is_pointed_out() -> None:
    with pytest.raises(ValueError, match="no column risk"):
        churn_metrics(predictions().drop("risk_90"), seed=0)


def test_skill_is_one_for_the_truth_and_zero_for_the_base_rate() -> None:
    truth = predictions(500).select("customer_id", "as_of", "risk_90")
    assert attainable_skill(truth, truth) == {"risk_90": 1.0}
    base = truth.with_columns(pl.col("risk_90").mean())
    assert attainable_skill(base, truth)["risk_90"] == pytest.approx(0, abs=1e-12)
    half = truth.with_columns((pl.col("risk_90") + pl.col("risk_90").mean()) / 2)
    assert attainable_skill(half, truth)["risk_90"] == pytest.approx(0.75)
    with pytest.raises(ValueError, match="equal as-of dates"):
        attainable_skill(truth, truth.with_columns(pl.lit(date(2020, 1, 1)).alias("as_of")))


def test_the_life_table_by_hand() -> None:
    train = pl.DataFrame(
        {
            "customer_id": list("abcd"),
            "as_of": [DAY] * 4,
            "event": [True, False, True, False],
            "time_days": [10.0, 20.0, 60.0, 400.0],
        }
    )
    figures = kaplan_meier(train, train, (30, 90)).row(0, named=True)
    assert figures["risk_30"] == pytest.approx(1 / 4)
    assert figures["risk_90"] == pytest.approx(1 - (3 / 4) * (1 / 2))
    assert kaplan_meier(train, train, ())["risk"].to_list() == [0.5] * 4


def test_logistic_regression_ranks_by_what_drives_leaving() -> None:
    frame = predictions(2000, observed_days=(10, 400)).with_columns(
        (pl.col("risk_90") * 10).alias("friction"),
        pl.lit("x").alias("plan"),
        pl.when(pl.int_range(pl.len()) % 3 == 0).then(None).otherwise(1.0).alias("wait"),
    )
    figures = logistic(
        frame[:1000], frame[1000:], ["friction", "plan", "wait"], horizons_days=(90,)
    )
    scored = frame[1000:].drop("risk_90").join(figures, on=["customer_id", "as_of"])
    assert point_metrics(scored)["auc_90"] > 0.7


@pytest.mark.parametrize("slope", [0.1, 0.25, 1.0, 3.0])
def test_the_calibration_slope_is_found_however_overconfident_the_risks(slope: float) -> None:
    rng = np.random.default_rng(0)
    logit = rng.normal(-1, 1, 4000)
    frame = pl.DataFrame(
        {
            "customer_id": [f"C{n}" for n in range(4000)],
            "as_of": None,
            "time_days": None,
            "event": rng.random(4000) < 1 / (1 + np.exp(-logit)),
            "risk": 1 / (1 + np.exp(-logit / slope)),
        }
    )
    assert point_metrics(frame)["calibration_slope"] == pytest.approx(slope, rel=0.15)
