"""Whom to treat, on the page: policies beside each other, with the truth where there is one."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from data.files import write_json, write_table
from evaluation.churn.treatment import (
    compare_policies,
    compare_policies_with_truth,
    uplift_by_fifth,
)
from evaluation.report.run import ReportParams, write_report
from models.churn.treatment import TreatmentParams

NOW = datetime(2026, 7, 1, tzinfo=UTC)
PARAMS = TreatmentParams(budget_share=0.2)


@pytest.fixture
def decisions() -> pl.DataFrame:
    """400 decisions: the offer keeps three in ten of one customer in four, and nobody else."""
    rng = np.random.default_rng(0)
    helped, offered = rng.random(400) < 0.25, rng.random(400) < 0.5
    left = rng.random(400) < np.where(helped, 0.5 - 0.3 * offered, 0.2)
    uplift = np.where(helped, 0.3, 0.0) + rng.normal(0, 0.01, 400)
    return pl.DataFrame(
        {
            "customer_id": [f"C{n}" for n in range(400)],
            "as_of": date(2026, 7, 1),
            "offered": offered,
            "propensity": 0.5,
            "left": left,
            "weight": 1.0,
            "risk_untreated": np.where(helped, 0.5, 0.2),
            "risk_treated": 0.2,
            "risk": rng.random(400),
            "uplift": uplift,
            "worth": 100.0,
            "expected_profit": 100 * uplift - 6,
            "true_uplift": np.where(helped, 0.3, 0.0),
        }
    )


def page_of(
    store: Path, summary: dict[str, Any], table: pl.DataFrame, truth: Path | None = None
) -> tuple[str, dict[str, Any]]:
    write_json(store / "treat.json", summary)
    write_table(store / "treatments.parquet", table)
    summary_of_page = write_report(
        store,
        truth=truth,
        out=store / "report/index.html",
        read_audio=None,
        now=NOW,
        params=ReportParams(),
    )
    shown = (
        (store / "report/index.html")
        .read_text()
        .split('id="treat"', 1)[1]
        .split("</section>", 1)[0]
    )
    return shown, summary_of_page


def test_policies_stand_beside_each_other_and_beside_the_truth(
    decisions: pl.DataFrame, tmp_path: Path
) -> None:
    table = decisions.with_columns(
        kind=pl.lit("call back"),
        basis=pl.lit("uplift"),
        cost=PARAMS.cost,
        treat=pl.col("uplift") > 0.3,
        why=pl.lit("Because."),
    )
    summary = {
        "basis": "uplift",
        "note": None,
        "horizon_days": 180,
        "budget_share": 0.2,
        **compare_policies(decisions, PARAMS),
        "learned_from": {"decisions": 400, "offered": 200, "left": 90, "kind": "call back"},
        "by_fifth": uplift_by_fifth(decisions, PARAMS),
        "today": {
            "customers": 400,
            "treat": 44,
            "expected_kept": 13.2,
            "expected_profit": 1000,
            "left_alone": 150,
        },
    }
    write_table(
        tmp_path / "truth/treatments.parquet",
        decisions.select(
            "customer_id",
            "as_of",
            pl.lit(0.5).alias("risk_180"),
            (0.5 - pl.col("true_uplift")).alias("treated_180"),
        ),
    )
    shown, summary_of_page = page_of(tmp_path, summary, table, tmp_path / "truth")
    for name in ("By lot", "By risk", "By uplift", "By expected profit"):
        assert shown.count(f'<th scope="row">{name}</th>') == 2  # on the log, and in truth
    for policy in compare_policies_with_truth(decisions, PARAMS):
        assert f'<td class="n">+{policy["kept"]:.1f}</td>' in shown
    assert "150 customers are better left alone" in shown
    assert shown.count("Because.") == 15
    assert not [note for note in summary_of_page["notes"] if "treat" in note]
    assert "in truth" not in page_of(tmp_path, summary, table)[0]


def test_a_fallback_to_risk_is_marked_as_such(decisions: pl.DataFrame, tmp_path: Path) -> None:
    nothing = pl.lit(None, pl.Float64)
    table = decisions.with_columns(
        kind=pl.lit("offer"),
        basis=pl.lit("risk"),
        cost=PARAMS.cost,
        treat=pl.col("risk") > 0.9,
        uplift=nothing,
        expected_profit=nothing,
        why=pl.lit("Among the riskiest."),
    )
    note = "There is no log of interventions. Until then the riskiest are listed."
    today = {"customers": 400, "treat": 40}
    summary = {
        "basis": "risk",
        "note": note,
        "horizon_days": 180,
        "budget_share": 0.1,
        "today": today,
    }
    shown, summary_of_page = page_of(tmp_path, summary, table)
    assert note in shown
    assert "By risk alone: 40 customers of 400" in shown
    assert note in summary_of_page["notes"]
    assert "Among the riskiest." in shown
    assert "By uplift" not in shown
