"""Chooses whom to treat within the budget, and says why.

The effect of an offer is learned from the log of interventions; without a usable log the choice
goes by risk.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from data.features.features import FeatureParams, features
from data.progress import Progress
from models.churn.treatment import TreatmentParams, choose, customer_value

if TYPE_CHECKING:
    from models.churn.uplift import UpliftModel
    from training.churn.uplift import Decisions

BY_UPLIFT, BY_RISK = "uplift", "risk"
SCHEMA = {
    "customer_id": pl.String,
    "as_of": pl.Date,
    "kind": pl.String,
    "basis": pl.String,
    "risk": pl.Float64,
    "uplift": pl.Float64,
    "uplift_low": pl.Float64,
    "uplift_high": pl.Float64,
    "worth": pl.Float64,
    "cost": pl.Float64,
    "expected_profit": pl.Float64,
    "treat": pl.Boolean,
    "why": pl.String,
}


@dataclass(frozen=True)
class TreatmentPlan:
    """Who to treat, and what the choice rests on.

    `treatments` has a row of SCHEMA an active customer. `decisions` are those it was learned from,
    scored by models that had not seen the customer (None: nothing could be learned). `model` is the
    uplift model and `summary` what to show.
    """

    treatments: pl.DataFrame
    decisions: pl.DataFrame | None
    model: UpliftModel | None
    summary: dict[str, Any]


def plan_treatment(
    tables: dict[str, pl.DataFrame],
    labels: pl.DataFrame,
    current: pl.DataFrame,
    *,
    churn_model: Path | None,
    params: TreatmentParams,
    feature_params: FeatureParams,
    progress: Progress = lambda done, total: None,
) -> TreatmentPlan:
    """Chooses whom to treat among `current`, the features of today, and returns the plan.

    Without a log to learn from, the riskiest are chosen and marked as such. `churn_model` is the
    active bundle; without one the risk is that of the untreated in the log.
    """
    from training.churn.uplift import (
        UpliftError,
        cross_fit,
        fit_uplift,
        join_decisions,
        usable_decisions,
    )

    prices = (
        tables["customers"]
        .select("customer_id", "monthly_price")
        .unique("customer_id", keep="first")
    )
    try:
        # Before features, which take longest.
        log, _ = usable_decisions(tables["interventions"], params)
        rows = _at_decisions(tables, labels, log, feature_params, progress)
        decisions = join_decisions(tables["interventions"], rows, params)
    except UpliftError as error:
        return _by_risk(_with_risk(current, churn_model, params), prices, params, str(error))
    model = fit_uplift(decisions.rows, decisions.kind, params)
    scored = cross_fit(decisions.rows, decisions.kind, params)
    # Not the risk of the active model, which has seen what became of these customers.
    past = _valued(scored.with_columns(risk="risk_untreated"), prices, params)
    uplifts = model.predict(current)
    today = _valued(_with_risk(current, churn_model, params, uplifts), prices, params)
    treatments = _choose_by_uplift(today, decisions.kind, params)
    summary = _summarize_uplift(decisions, past, treatments, params)
    return TreatmentPlan(treatments, past, model, summary)


def _choose_by_uplift(today: pl.DataFrame, offer: str, params: TreatmentParams) -> pl.DataFrame:
    """The rows of SCHEMA, the customers to treat first, each with a sentence why."""
    chosen = choose(
        today["expected_profit"].to_numpy(), _dates(today), params.budget_share, above=0.0
    )
    return (
        today.with_columns(
            pl.Series("treat", chosen),
            pl.lit(offer).alias("kind"),
            pl.lit(BY_UPLIFT).alias("basis"),
            pl.lit(params.cost).alias("cost"),
        )
        .with_columns(
            pl.struct(pl.all()).map_elements(lambda row: _why(row, params), pl.String).alias("why")
        )
        .select(*SCHEMA)
        .sort(["treat", "expected_profit", "customer_id"], descending=[True, True, False])
    )


def _summarize_uplift(
    decisions: Decisions, past: pl.DataFrame, treatments: pl.DataFrame, params: TreatmentParams
) -> dict[str, Any]:
    """What the log taught, how policies compare on it, and what is expected of today's choice."""
    from evaluation.churn.treatment import compare_policies, uplift_by_fifth
    from training.churn.uplift import summarize_decisions

    treated = treatments.filter("treat")
    return {
        "basis": BY_UPLIFT,
        "note": None,
        "learned_from": summarize_decisions(decisions),
        "horizon_days": params.horizon_days,
        "budget_share": params.budget_share,
        **compare_policies(past, params),
        "by_fifth": uplift_by_fifth(past, params),
        "today": {
            "customers": treatments.height,
            "treat": treated.height,
            "expected_kept": treated["uplift"].sum(),
            "expected_profit": treated["expected_profit"].sum(),
            "left_alone": int((treatments["uplift"] < 0).sum()),
        },
    }


def _at_decisions(
    tables: dict[str, pl.DataFrame],
    labels: pl.DataFrame,
    log: pl.DataFrame,
    params: FeatureParams,
    progress: Progress,
) -> pl.DataFrame:
    """Returns features of the customers in the log at the start of each day of decisions.

    They have no lead: whoever left soon after the decision is part of what it did.
    """
    params = replace(params, lead_days=0)
    days = log.partition_by("decided_on", maintain_order=True)
    parts = []
    # One day at a time: a log may have decisions on every day.
    for done, customers in enumerate(days, start=1):
        # Of the others only contacts are left out: which features there are follows from all
        # customers.
        contacts = tables["contacts"].join(customers, on="customer_id", how="semi")
        rows = features(
            {**tables, "contacts": contacts}, labels, [customers["decided_on"][0]], params=params
        )
        parts.append(rows.join(customers, on="customer_id", how="semi"))
        progress(done, len(days))
    return pl.concat(parts)


def _with_risk(
    rows: pl.DataFrame,
    churn_model: Path | None,
    params: TreatmentParams,
    scored: pl.DataFrame | None = None,
) -> pl.DataFrame:
    """Returns `scored` (else the keys of `rows`) with `risk`.

    That is the risk at the horizon nearest to the one treated for.
    """
    keys = ["customer_id", "as_of"]
    base = rows.select(keys) if scored is None else scored
    if churn_model is None:
        unknown = pl.lit(None, pl.Float64) if scored is None else pl.col("risk_untreated")
        return base.with_columns(unknown.alias("risk"))
    from evaluation.metrics.churn import horizon_days, risk_columns
    from models.churn.model import ChurnModel

    risks = ChurnModel.load(churn_model).predict(rows)
    horizon = params.horizon_days
    nearest = min(
        risk_columns(risks), key=lambda name: abs((horizon_days(name) or horizon) - horizon)
    )
    return base.join(
        risks.select(*keys, pl.col(nearest).alias("risk")),
        on=keys,
        how="left",
        maintain_order="left",
    )


def _valued(rows: pl.DataFrame, prices: pl.DataFrame, params: TreatmentParams) -> pl.DataFrame:
    """Adds what keeping each customer is worth and what treating them is expected to earn.

    The uplift is bounded by the risk: nobody can be kept more surely than they would leave.
    """
    priced = rows.join(prices, on="customer_id", how="left", maintain_order="left")
    bounded = [
        pl.min_horizontal(name, "risk").alias(name)
        for name in ("uplift", "uplift_low", "uplift_high")
    ]
    return priced.with_columns(
        customer_value(priced["monthly_price"], params), *bounded
    ).with_columns((pl.col("uplift") * pl.col("worth") - params.cost).alias("expected_profit"))


def _by_risk(
    rows: pl.DataFrame, prices: pl.DataFrame, params: TreatmentParams, reason: str
) -> TreatmentPlan:
    """Returns a plan that lists the riskiest, with `reason` why uplift could not be learned."""
    priced = rows.join(prices, on="customer_id", how="left", maintain_order="left")
    has_risk = rows["risk"].is_not_null()
    if has_risk.any():
        chosen = choose(rows["risk"].fill_null(0.0).to_numpy(), _dates(rows), params.budget_share)
        note = (
            f"{reason} Until then the riskiest are listed, which is not the same as those an "
            "offer would keep."
        )
    else:
        chosen = has_risk.to_numpy()
        note = f"{reason} Nor is a churn model active, so nobody can be ranked by risk either."
    treatments = (
        priced.with_columns(
            customer_value(priced["monthly_price"], params),
            pl.lit(params.kind or "offer").alias("kind"),
            pl.lit(BY_RISK).alias("basis"),
            pl.lit(params.cost).alias("cost"),
            pl.Series("treat", chosen),
            *(
                pl.lit(None, pl.Float64).alias(name)
                for name in ("uplift", "uplift_low", "uplift_high", "expected_profit")
            ),
            pl.when(chosen)
            .then(pl.lit("Among the riskiest; whether an offer would help is not known."))
            .otherwise(pl.lit("Others are at higher risk."))
            .alias("why"),
        )
        .select(*SCHEMA)
        .sort(["treat", "risk", "customer_id"], descending=[True, True, False], nulls_last=True)
    )
    summary = {
        "basis": BY_RISK,
        "note": note,
        "horizon_days": params.horizon_days,
        "budget_share": params.budget_share,
        "today": {"customers": treatments.height, "treat": int(chosen.sum())},
    }
    return TreatmentPlan(treatments, None, None, summary)


def _dates(rows: pl.DataFrame) -> Any:
    return rows["as_of"].to_physical().to_numpy()


def _why(row: dict[str, Any], params: TreatmentParams) -> str:
    """Returns one sentence a person can act on."""
    low, high = row["uplift_low"] * 100, row["uplift_high"] * 100
    points = f"{abs(row['uplift']) * 100:.1f} points ({low:+.1f} to {high:+.1f})"
    if row["uplift"] <= 0:
        return f"Better left alone: a {row['kind']} is expected to raise the risk by {points}."
    gain = f"A {row['kind']} is expected to lower the risk of {row['risk']:.0%} by {points}"
    money = f"worth {row['uplift'] * row['worth']:.2f} for a cost of {params.cost:.2f}"
    if row["treat"]:
        return f"{gain}, {money}."
    if row["expected_profit"] <= 0:
        return f"{gain}, which does not pay: {money}."
    return f"{gain}, {money}, but the budget goes to others first."
