"""C6: whom to treat: expected profit and uplift, not risk alone, learned from a log of interventions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import polars as pl
import pytest

from data.files import read_json
from evaluation.churn.treatment import compare_policies_with_truth, treated_shares
from flows.stages.treatment_choice import SCHEMA, TreatmentPlan, plan_treatment
from models.churn.treatment import TreatmentParams
from models.churn.uplift import UpliftModel
from tests.treatment_helpers import SHORT, Centre, a_centre, true_uplift
from tests.typing_helpers import known

SEEDS = (21, 22)
PARAMS = TreatmentParams()
Planned: TypeAlias = tuple[Centre, TreatmentPlan]


@pytest.fixture(scope="module")
def centres() -> list[Planned]:
    """Two centres, each with what the step made of it."""
    made = [a_centre(seed) for seed in SEEDS]
    return [
        (
            one,
            plan_treatment(
                one.tables,
                one.labels,
                one.current,
                churn_model=None,
                params=PARAMS,
                feature_params=SHORT,
            ),
        )
        for one in made
    ]


def in_truth(
    centre: Centre, treated: TreatmentPlan, params: TreatmentParams = PARAMS
) -> dict[str, dict[str, Any]]:
    """policy → what it keeps and earns in truth, for 1,000 of today's customers; by risk means by the true risk."""
    true_risk = centre.truth.select("customer_id", "as_of", pl.col("risk_180").alias("risk"))
    rows = treated.treatments.drop("risk").join(true_risk, on=["customer_id", "as_of"])
    rows = rows.join(true_uplift(centre.truth), on=["customer_id", "as_of"])
    return {one["policy"]: one for one in compare_policies_with_truth(rows, params)}


@pytest.mark.parametrize("budget", [0.05, 0.1, 0.2])
def test_C6_uplift_saves_more_customers_than_risk_at_equal_budget(
    centres: list[Planned], budget: float
) -> None:
    found = [in_truth(*one, replace(PARAMS, budget_share=budget)) for one in centres]
    kept = {
        policy: sum(one[policy]["kept"] for one in found) for policy in ("random", "risk", "uplift")
    }
    assert kept["uplift"] > 1.1 * kept["risk"] > kept["random"]
    assert all(one["uplift"]["treated_share"] <= one["risk"]["treated_share"] for one in found)


def test_C6_profit_earns_more_than_risk_at_equal_budget(centres: list[Planned]) -> None:
    found = [in_truth(*one) for one in centres]
    assert all(one["profit"]["profit"] > one["risk"]["profit"] for one in found)
    assert all(one["profit"]["profit"] > one["random"]["profit"] for one in found)


def test_C6_estimates_on_the_log_agree_with_the_truth(centres: list[Planned]) -> None:
    """The value of each policy, by propensities alone and doubly robust, against the true effects of its choices.

    Estimates of one centre share its luck, so a few may miss together; none may be far off.
    """
    inside = 0
    for centre, treated in centres:
        decisions = known(treated.decisions)
        rows = decisions.join(true_uplift(centre.truth), on=["customer_id", "as_of"])
        assert rows.height == decisions.height > 3000
        for said in treated.summary["policies"]:
            chosen = treated_shares(said["policy"], rows, PARAMS.budget_share)
            truth = 1000 * float((chosen * rows["true_uplift"].to_numpy()).mean())
            for found in (said["kept_aipw"], said["kept_ipw"]):
                inside += found["low"] <= truth <= found["high"]
                error = (found["high"] - found["low"]) / (2 * 1.96)
                assert abs(found["value"] - truth) < 3.3 * error, (said["policy"], truth, found)
    assert (
        inside >= 12
    )  # of 16 intervals of 95 %; benchmarks/bench_treatment.py counts over more centres


def test_C6_each_customer_is_told_whether_and_why(centres: list[Planned]) -> None:
    _, treated = centres[0]
    table = treated.treatments
    assert dict(table.schema) == SCHEMA
    assert set(table["basis"]) == {"uplift"}
    assert table["treat"].sum() <= int(PARAMS.budget_share * table.height)
    chosen, rest = table.filter("treat"), table.filter(~pl.col("treat"))
    assert (chosen["expected_profit"] > 0).all()
    lowest, highest = chosen["expected_profit"].min(), rest["expected_profit"].max()
    assert isinstance(lowest, float)
    assert isinstance(highest, float)
    assert lowest >= highest
    assert (table["uplift_low"] <= table["uplift"]).all()
    assert (table["uplift"] <= table["uplift_high"]).all()
    assert chosen["why"].str.contains("expected to lower the risk").all()
    assert rest.filter(pl.col("uplift") < 0)["why"].str.starts_with("Better left alone").all()
    assert treated.summary["today"]["treat"] == chosen.height > 20


@pytest.fixture(scope="module")
def dear(centres: list[Planned]) -> TreatmentPlan:
    """The first centre with an offer that costs much, and without what happened after the last decision."""
    centre, _ = centres[0]
    last = centre.tables["interventions"]["decided_on"].max()
    past = centre.tables["contacts"].filter(pl.col("started_at").dt.date() < last)
    tables = {**centre.tables, "contacts": past}
    return plan_treatment(
        tables,
        centre.labels,
        centre.current,
        churn_model=None,
        params=replace(PARAMS, cost_contact=15.0),
        feature_params=SHORT,
    )


def test_C6_costs_decide_who_is_worth_it(centres: list[Planned], dear: TreatmentPlan) -> None:
    cheap, treated = centres[0][1].treatments.filter("treat"), dear.treatments.filter("treat")
    assert 0 < treated.height < cheap.height
    assert (treated["uplift"] * treated["worth"] > 15.0).all()
    assert dear.treatments["why"].str.contains("which does not pay").any()


def test_C6_what_happens_after_a_decision_changes_no_score(
    centres: list[Planned], dear: TreatmentPlan
) -> None:
    late, early = known(dear.decisions), known(centres[0][1].decisions)
    assert late.drop("expected_profit").equals(early.drop("expected_profit"))


def test_C6_the_model_is_weights_and_json_and_comes_back_the_same(
    centres: list[Planned], tmp_path: Path
) -> None:
    centre, treated = centres[0]
    model = known(treated.model)
    model.save(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "config.json",
        "weights.safetensors",
    ]
    assert read_json(tmp_path / "config.json")["kind"] == "call back"
    again = UpliftModel.load(tmp_path).predict(centre.current)
    assert again.equals(model.predict(centre.current))


MESSAGES: dict[str, tuple[Callable[[pl.DataFrame], pl.DataFrame], str]] = {
    "no log": (lambda log: log.clear(), "no log of interventions"),
    "no propensities": (
        lambda log: log.with_columns(propensity=None),
        "says how probable the offer was",
    ),
    "no controls": (
        lambda log: log.filter("offered"),
        "nobody to compare with. Hold some customers back",
    ),
    "nobody treated": (lambda log: log.filter(~pl.col("offered")), "Nobody in the log was offered"),
    "too few": (lambda log: log.head(400), "too few to learn from"),
}


@pytest.mark.parametrize("case", MESSAGES)
def test_C6_a_log_that_tells_nothing_falls_back_to_risk_and_says_so(
    centres: list[Planned], case: str
) -> None:
    change, message = MESSAGES[case]
    centre, _ = centres[0]
    log = change(centre.tables["interventions"]).cast(centre.tables["interventions"].schema)
    found = plan_treatment(
        {**centre.tables, "interventions": log},
        centre.labels,
        centre.current,
        churn_model=None,
        params=PARAMS,
        feature_params=SHORT,
    )
    assert message in found.summary["note"]
    assert "Nor is a churn model active" in found.summary["note"]
    assert (found.summary["basis"], found.model, found.decisions) == ("risk", None, None)
    assert (
        found.treatments["uplift"].null_count() == found.treatments.height == centre.current.height
    )
    assert set(found.treatments["basis"]) == {"risk"}
